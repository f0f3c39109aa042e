// Any processor: vectors of four, which compilers map to SSE2 or NEON.
#define VIDNAS_ISA portable
#define VIDNAS_LANES_MAX 4
#include "isa.h"
