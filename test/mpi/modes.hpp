// The four send modes of MPI, for loops over all of them.
#pragma once

#include <mpi.h>

#include <array>
#include <cstddef>
#include <vector>

namespace efa::mpitest {

enum class Mode { kStandard, kSynchronous, kReady, kBuffered };

inline constexpr std::array kModes{Mode::kStandard, Mode::kSynchronous, Mode::kReady, Mode::kBuffered};

inline const char* name(Mode mode) {
  constexpr std::array kNames{"standard", "synchronous", "ready", "buffered"};
  return kNames[static_cast<std::size_t>(mode)];
}

inline int send(Mode mode, const void* data, int count, MPI_Datatype type, int to, int tag, MPI_Comm comm) {
  constexpr std::array kCalls{MPI_Send, MPI_Ssend, MPI_Rsend, MPI_Bsend};
  return kCalls[static_cast<std::size_t>(mode)](data, count, type, to, tag, comm);
}

inline MPI_Request isend(Mode mode, const void* data, int count, MPI_Datatype type, int to, int tag,
                         MPI_Comm comm) {
  constexpr std::array kCalls{MPI_Isend, MPI_Issend, MPI_Irsend, MPI_Ibsend};
  MPI_Request request = MPI_REQUEST_NULL;
  kCalls[static_cast<std::size_t>(mode)](data, count, type, to, tag, comm, &request);
  return request;
}

inline MPI_Request send_init(Mode mode, const void* data, int count, MPI_Datatype type, int to, int tag,
                             MPI_Comm comm) {
  constexpr std::array kCalls{MPI_Send_init, MPI_Ssend_init, MPI_Rsend_init, MPI_Bsend_init};
  MPI_Request request = MPI_REQUEST_NULL;
  kCalls[static_cast<std::size_t>(mode)](data, count, type, to, tag, comm, &request);
  return request;
}

// A buffer for buffered sends, attached during the lifetime of this object. The destructor waits for all of them.
class BufferedSpace {
 public:
  explicit BufferedSpace(std::size_t bytes) : memory_(bytes) {
    MPI_Buffer_attach(memory_.data(), static_cast<int>(memory_.size()));
  }
  ~BufferedSpace() {
    void* data = nullptr;
    int size = 0;
    MPI_Buffer_detach(&data, &size);
  }
  BufferedSpace(const BufferedSpace&) = delete;
  BufferedSpace& operator=(const BufferedSpace&) = delete;

 private:
  std::vector<std::byte> memory_;
};

}  // namespace efa::mpitest
