// Catch2 of Debian 12 (version 2) or Debian 13 (version 3). main() is in catch_main.cpp with version 2, and in the library
// Catch2WithMain with version 3.
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
