// Catch2 as Debian 12 (version 2) and Debian 13 (version 3) ship it. main() comes from catch_main.cpp.
#pragma once
#if __has_include(<catch2/catch_all.hpp>)
#include <catch2/catch_all.hpp>
#else
#include <catch2/catch.hpp>
using Catch::Matchers::Contains;
#endif
