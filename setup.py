"""Builds the C++ kernels where there is a compiler; without one vidnas installs all the same and uses PyTorch's."""

from concurrent.futures import ThreadPoolExecutor
from itertools import chain

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

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


class SideBySide(build_ext):
    """Compiles the sources at the same time: one instruction set takes a minute."""

    def build_extension(self, ext):
        compile_all = self.compiler.compile

        def compile_each(sources, *args, **settings):
            with ThreadPoolExecutor() as pool:
                objects = pool.map(lambda source: compile_all([source], *args, **settings), sources)
                return list(chain.from_iterable(objects))

        self.compiler.compile = compile_each
        super().build_extension(ext)


setup(ext_modules=[KERNELS], cmdclass={"build_ext": SideBySide})
