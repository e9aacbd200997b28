/* The public headers serve C and C++ alike. */
#include "tests/api/api_support.h"

int headers_in_cpp(const char *path);

TEST(headers, a_cpp_program_uses_everything) { CHECK_INT(headers_in_cpp(path_of("store")), 0); }
