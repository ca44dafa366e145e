// main() for Catch2 version 2 (Debian 12), which has no library; not built with version 3.
#define CATCH_CONFIG_MAIN
#include "catch.hpp"
