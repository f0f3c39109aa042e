"""Builds the C++ kernels where there is a compiler; without one vidnas installs all the same and uses PyTorch's."""

from setuptools import Extension, setup

FOLDER = "vidnas/nn/native"
HEADERS = (
    "depthwise",
    "fill",
    "forward",
    "geometry",
    "input_gradient",
    "isa",
    "norm_act",
    "norm_step",
    "packing",
    "pointwise",
    "table",
    "vec",
    "weight_gradient",
    "window",
)
KERNELS = Extension(
    "vidnas.nn.native._kernels",
    sources=[f"{FOLDER}/{name}.cpp" for name in ("entry", "norm_step", "chain", "portable", "avx2", "avx512")],
    depends=[f"{FOLDER}/{name}.h" for name in HEADERS],
    extra_compile_args=["-O2", "-std=c++17", "-fopenmp"],
    extra_link_args=["-fopenmp"],
    language="c++",
    optional=True,
)

setup(ext_modules=[KERNELS])
