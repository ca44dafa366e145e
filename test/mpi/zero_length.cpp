// Messages of length 0: in every mode, from null pointers and MPI_BOTTOM, of types without data, into larger receives,
// between messages with data. They match, complete and set the status like any other message.
#include "check.hpp"
#include "modes.hpp"

using namespace efa::mpitest;

namespace {

struct Empty {
  const char* what;
  const void* address;
  int count;
  MPI_Datatype type;
};

void exchange(int rank, Mode mode, const Empty& empty, int tag, bool probed) {
  if (rank == 0) {
    take_token(1, 1, MPI_COMM_WORLD);
    send(mode, empty.address, empty.count, empty.type, 1, tag, MPI_COMM_WORLD);
    MPI_Request request = isend(mode, empty.address, empty.count, empty.type, 1, tag, MPI_COMM_WORLD);
    MPI_Wait(&request, MPI_STATUS_IGNORE);
    return;
  }
  Buffer room(50);
  MPI_Request requests[2];
  MPI_Status statuses[2];
  if (probed) {
    give_token(0, 1, MPI_COMM_WORLD);
    MPI_Probe(MPI_ANY_SOURCE, MPI_ANY_TAG, MPI_COMM_WORLD, &statuses[0]);
    expect_status(statuses[0], 0, tag, 0);
    MPI_Recv(room.data(), 50, MPI_BYTE, 0, tag, MPI_COMM_WORLD, &statuses[0]);
    MPI_Message handle;
    MPI_Mprobe(0, tag, MPI_COMM_WORLD, &handle, &statuses[1]);
    expect_status(statuses[1], 0, tag, 0);
    MPI_Mrecv(const_cast<void*>(empty.address), empty.count, empty.type, &handle, &statuses[1]);
  } else {
    MPI_Irecv(room.data(), 50, MPI_BYTE, 0, tag, MPI_COMM_WORLD, &requests[0]);
    MPI_Irecv(const_cast<void*>(empty.address), empty.count, empty.type, 0, tag, MPI_COMM_WORLD,
              &requests[1]);
    give_token(0, 1, MPI_COMM_WORLD);
    MPI_Waitall(2, requests, statuses);
  }
  for (const MPI_Status& status : statuses) expect_status(status, 0, tag, 0);
  room.expect_untouched_from(0);
}

// Messages of length 0 between others of the same tag keep their order.
void among_others(int rank) {
  constexpr int kMessages = 500;
  constexpr int kTag = 900;
  const auto size_of = [](int i) { return i % 3 ? 0 : i * 40; };
  Step step("among messages with data");
  for (int i = 0; i < kMessages; ++i) {
    Buffer message(static_cast<std::size_t>(size_of(i)));
    if (rank == 0) {
      message.fill({0, kTag, i});
      send(i % 2 ? Mode::kStandard : Mode::kBuffered, message.data(), size_of(i), MPI_BYTE, 1, kTag,
           MPI_COMM_WORLD);
    } else {
      MPI_Status status;
      MPI_Recv(message.data(), size_of(i), MPI_BYTE, 0, kTag, MPI_COMM_WORLD, &status);
      expect_status(status, 0, kTag, size_of(i));
      message.expect_message({0, kTag, i});
    }
  }
}

}  // namespace

int main(int argc, char** argv) {
  Program program(argc, argv, 2);
  BufferedSpace space(8 << 20);
  if (program.rank > 1) return 0;

  MPI_Datatype nothing, empty_struct, gaps;
  MPI_Type_contiguous(0, MPI_INT, &nothing);
  const int lengths[2] = {0, 0};
  const MPI_Aint displacements[2] = {0, 4096};
  const MPI_Datatype types[2] = {MPI_INT, MPI_DOUBLE};
  MPI_Type_create_struct(2, lengths, displacements, types, &empty_struct);
  MPI_Type_vector(7, 2, 5, MPI_SHORT, &gaps);
  for (MPI_Datatype* type : {&nothing, &empty_struct, &gaps}) MPI_Type_commit(type);

  int here = 0;
  const Empty empties[] = {
      {"null pointer", nullptr, 0, MPI_BYTE},
      {"MPI_BOTTOM", MPI_BOTTOM, 0, MPI_DOUBLE},
      {"an address", &here, 0, MPI_INT},
      {"type without data", &here, 5, nothing},
      {"type without data at MPI_BOTTOM", MPI_BOTTOM, 5, nothing},
      {"struct of empty blocks", &here, 3, empty_struct},
      {"no element of a vector", &here, 0, gaps},
  };
  int tag = 10;
  for (const Empty& empty : empties)
    for (const Mode mode : kModes)
      for (const bool probed : {false, true}) {
        if (probed && mode == Mode::kReady) continue;
        Step step("%s, %s send%s", empty.what, name(mode), probed ? ", probed" : "");
        exchange(program.rank, mode, empty, ++tag, probed);
      }
  among_others(program.rank);
  for (MPI_Datatype* type : {&nothing, &empty_struct, &gaps}) MPI_Type_free(type);
}
