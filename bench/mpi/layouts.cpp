// Noncontiguous data: ping-pong, compared with the same number of contiguous bytes and with MPI_Pack and MPI_Unpack
// alone; and the memory that the MPI library used.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <vector>

#include "bench.hpp"

namespace bench {
namespace {

constexpr int kTag = 1, kRoundTrips = 1000;

// A type with about `size` bytes of data; every layout has as many bytes of gaps as of data.
MPI_Datatype make_type(const std::string& layout, size_t size) {
  MPI_Datatype type;
  auto vector_of = [&](int block) {
    const int blocks = static_cast<int>(std::max<size_t>(1, size / static_cast<size_t>(block)));
    MPI_Type_vector(blocks, block, 2 * block, MPI_BYTE, &type);
  };
  if (layout == "vector8") {
    MPI_Type_vector(static_cast<int>(std::max<size_t>(1, size / 8)), 1, 2, MPI_DOUBLE, &type);
  } else if (layout == "vector64") {
    vector_of(64);
  } else if (layout == "struct4") {
    const int quarter = static_cast<int>(std::max<size_t>(1, size / 4));
    const int lengths[4] = {quarter, quarter, quarter, quarter};
    MPI_Aint places[4];
    for (int i = 0; i < 4; ++i) places[i] = MPI_Aint{2} * quarter * i;
    const MPI_Datatype types[4] = {MPI_BYTE, MPI_BYTE, MPI_BYTE, MPI_BYTE};
    MPI_Type_create_struct(4, lengths, places, types, &type);
  } else if (layout == "indexed") {  // blocks of 8 to 120 bytes
    std::vector<int> lengths, places;
    for (size_t i = 0, place = 0, taken = 0; taken < size; ++i) {
      const size_t length = std::min(size - taken, 8 + (i * 40) % 120);
      lengths.push_back(static_cast<int>(length));
      places.push_back(static_cast<int>(place));
      place += 2 * length;
      taken += length;
    }
    MPI_Type_indexed(static_cast<int>(lengths.size()), lengths.data(), places.data(), MPI_BYTE, &type);
  } else {
    die("there is no layout \"" + layout + "\"; -l takes vector8, vector64, struct4, indexed");
  }
  MPI_Type_commit(&type);
  return type;
}

// A line of /proc/self/status, in MiB.
double status_mib(const char* name) {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);)
    if (line.rfind(name, 0) == 0) return std::atof(line.c_str() + std::strlen(name) + 1) / 1024;
  return 0;
}

// Resets the peak of resident memory (proc(5), clear_refs).
void reset_peak() {
  std::ofstream("/proc/self/clear_refs") << "5";
}

template <class Send, class Receive>
double round_trip(Bench& b, size_t size, Send send, Receive receive) {
  return b.time(size, kRoundTrips, [&](int i) {
    if (b.rank == 0) send(i);
    if (b.rank < 2) receive(i);
    if (b.rank == 1) send(i);
  });
}

}  // namespace

void layout(Bench& b) {
  b.title("Layout Test, " + b.options.layout,
          "          Latency (us)   Contiguous (us)  Pack+unpack (us)    Extra peak MiB");
  const size_t span = 2 * b.options.most + 4096;
  std::vector<char> out(span, 1), in(span, 1), packed(b.options.most + 4096, 1), seen(packed.size());
  const int peer = 1 - b.rank;
  b.for_sizes([&](size_t wanted) {
    MPI_Datatype type = make_type(b.options.layout, wanted);
    int size = 0;
    MPI_Type_size(type, &size);
    const auto length = static_cast<size_t>(size);
    auto pack = [&](const char* from, char* to) {
      int at = 0;
      MPI_Pack(from, 1, type, to, static_cast<int>(packed.size()), &at, MPI_COMM_SELF);
    };
    auto unpack = [&](char* to) {
      int at = 0;
      MPI_Unpack(packed.data(), size, &at, to, 1, type, MPI_COMM_SELF);
    };
    const double resident = status_mib("VmRSS:");
    reset_peak();
    const double typed = round_trip(
        b, length,
        [&](int i) {
          if (b.options.verify) {
            b.fill(packed.data(), length, b.rank, i);
            unpack(out.data());
          }
          MPI_Send(out.data(), 1, type, peer, kTag, MPI_COMM_WORLD);
        },
        [&](int i) {
          MPI_Recv(in.data(), 1, type, peer, kTag, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
          if (b.options.verify) {
            pack(in.data(), seen.data());
            b.check(seen.data(), length, peer, i);
          }
        });
    const double peak = std::max(0.0, status_mib("VmHWM:") - resident);
    const double plain = round_trip(
        b, length, [&](int) { MPI_Send(packed.data(), size, MPI_BYTE, peer, kTag, MPI_COMM_WORLD); },
        [&](int) { MPI_Recv(packed.data(), size, MPI_BYTE, peer, kTag, MPI_COMM_WORLD, MPI_STATUS_IGNORE); });
    const double packing = b.time(length, kRoundTrips, [&](int) {
      pack(out.data(), packed.data());
      unpack(in.data());
    });
    b.row(length, {typed / 2 * 1e6, plain / 2 * 1e6, packing * 1e6, peak});
    MPI_Type_free(&type);
  });
}

}  // namespace bench
