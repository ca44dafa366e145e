// main() for Catch2 of Debian 12 (version 2), which ships no library; unused with version 3.
#define CATCH_CONFIG_MAIN
#include "catch.hpp"
