// The path on which this transport matches, over channels that carry packets.
#pragma once

#include "interface/transport.h"
#include "protocol/path.hpp"

namespace efa {

extern const Path kPacketPath;

// Has this process match messages itself, and opens shared memory if the options allow it. During set-up, once the protocols
// are decided.
void use_packets(efa_transport* t);

}  // namespace efa
