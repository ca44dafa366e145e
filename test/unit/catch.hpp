// Catch2 as Debian 12 (version 2) and Debian 13 (version 3) ship it. main() comes from catch_main.cpp with
// version 2, from Catch2WithMain with version 3.
#pragma once
#include <string>
#if __has_include(<catch2/catch_all.hpp>)
#include <catch2/catch_all.hpp>
inline auto Contains(const std::string& text) {
  return Catch::Matchers::ContainsSubstring(text);
}
#else
#include <catch2/catch.hpp>
using Catch::Matchers::Contains;
#endif
