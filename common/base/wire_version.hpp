// The version of the wire format: cards, tag bits, ready-to-send and control messages, packets, pings. It changes whenever one of
// these changes. The cards contain it, so processes with different versions of the component report an error. All are
// little-endian, as all machines with EFA are.
#pragma once

#include <bit>
#include <cstdint>

namespace efa {

static_assert(std::endian::native == std::endian::little, "the wire format is little-endian");

constexpr uint16_t kWireVersion = 9;

}  // namespace efa
