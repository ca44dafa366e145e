// Open MPI's collectives, which use the MTL's point-to-point messages: many sizes, different counts per rank, derived
// types, several nonblocking collectives at once, point-to-point messages in between. The expected results are computed
// without MPI.
#include "check.hpp"
#include "modes.hpp"

using namespace efa::mpitest;

namespace {

std::size_t at(int i) {
  return static_cast<std::size_t>(i);
}

// Rank r sends (r * 31 + p * 17 + base) % limit bytes to rank p, which may be 0.
void alltoallv(int rank, int size, int limit) {
  Step step("MPI_Alltoallv, up to %d bytes per pair", limit);
  const auto bytes = [&](int from, int to) {
    return (from + to) % 3 == 0 ? 0 : (from * 31 + to * 17 + 1001) % limit;
  };
  std::vector<int> send_counts, receive_counts, send_offsets, receive_offsets;
  int sends = 0, receives = 0;
  for (int peer = 0; peer < size; ++peer) {
    send_counts.push_back(bytes(rank, peer));
    send_offsets.push_back(sends);
    sends += bytes(rank, peer) + 5;  // a gap between neighbours
    receive_counts.push_back(bytes(peer, rank));
    receive_offsets.push_back(receives);
    receives += bytes(peer, rank) + 5;
  }
  Buffer out(at(sends)), in(at(receives));
  for (int peer = 0; peer < size; ++peer)
    fill_pattern(out.bytes() + send_offsets[at(peer)], at(send_counts[at(peer)]), {rank, peer, limit});
  MPI_Alltoallv(out.data(), send_counts.data(), send_offsets.data(), MPI_BYTE, in.data(),
                receive_counts.data(), receive_offsets.data(), MPI_BYTE, MPI_COMM_WORLD);
  for (int peer = 0; peer < size; ++peer) {
    const std::uint8_t* part = in.bytes() + receive_offsets[at(peer)];
    const std::size_t length = at(receive_counts[at(peer)]);
    expect_pattern(part, length, {peer, rank, limit});
    for (std::size_t i = length; i < length + 5; ++i)
      expect_equal(Buffer::kPoison, part[i], "a byte in the gap between two ranks' parts");
  }
  in.expect_untouched_from(in.size());
}

void one_to_all_and_back(int rank, int size, int bytes) {
  Step step("%d bytes", bytes);
  for (int root = 0; root < size; ++root) {
    Buffer shared(at(bytes)), all(at(bytes * size)), mine(at(bytes));
    if (rank == root) shared.fill({root, bytes});
    MPI_Bcast(shared.data(), bytes, MPI_BYTE, root, MPI_COMM_WORLD);
    shared.expect_message({root, bytes});

    mine.fill({rank, bytes, root});
    MPI_Gather(mine.data(), bytes, MPI_BYTE, all.data(), bytes, MPI_BYTE, root, MPI_COMM_WORLD);
    for (int peer = 0; rank == root && peer < size; ++peer)
      expect_pattern(all.bytes() + peer * bytes, at(bytes), {peer, bytes, root});
    if (rank != root) all.expect_untouched_from(0);
    mine.poison();
    MPI_Scatter(all.data(), bytes, MPI_BYTE, mine.data(), bytes, MPI_BYTE, root, MPI_COMM_WORLD);
    mine.expect_message({rank, bytes, root});
  }
  Buffer mine(at(bytes)), all(at(bytes * size)), turned(at(bytes * size));
  mine.fill({rank, bytes, 1});
  MPI_Allgather(mine.data(), bytes, MPI_BYTE, all.data(), bytes, MPI_BYTE, MPI_COMM_WORLD);
  for (int peer = 0; peer < size; ++peer) {
    expect_pattern(all.bytes() + peer * bytes, at(bytes), {peer, bytes, 1});
    fill_pattern(all.bytes() + peer * bytes, at(bytes), {rank, peer, bytes});
  }
  MPI_Alltoall(all.data(), bytes, MPI_BYTE, turned.data(), bytes, MPI_BYTE, MPI_COMM_WORLD);
  for (int peer = 0; peer < size; ++peer)
    expect_pattern(turned.bytes() + peer * bytes, at(bytes), {peer, rank, bytes});
}

void reductions(int rank, int size, int count) {
  Step step("reductions of %d values", count);
  std::vector<std::int64_t> mine(at(count)), result(at(count)), expected(at(count));
  for (int i = 0; i < count; ++i) {
    mine[at(i)] = std::int64_t{rank + 1} * (i + 1);
    expected[at(i)] = std::int64_t{size} * (size + 1) / 2 * (i + 1);
  }
  MPI_Allreduce(mine.data(), result.data(), count, MPI_INT64_T, MPI_SUM, MPI_COMM_WORLD);
  expect(result == expected, "MPI_Allreduce sums over all ranks");
  MPI_Reduce(mine.data(), result.data(), count, MPI_INT64_T, MPI_MAX, size - 1, MPI_COMM_WORLD);
  for (int i = 0; rank == size - 1 && i < count; ++i)
    expect_equal(std::int64_t{size} * (i + 1), result[at(i)], "MPI_Reduce finds the largest");
  MPI_Scan(mine.data(), result.data(), count, MPI_INT64_T, MPI_SUM, MPI_COMM_WORLD);
  for (int i = 0; i < count; ++i)
    expect_equal(std::int64_t{rank + 1} * (rank + 2) / 2 * (i + 1), result[at(i)],
                 "MPI_Scan sums up to this rank");
}

// Several collectives in progress at once, with point-to-point messages between their start and completion.
void nonblocking(int rank, int size) {
  constexpr int kRounds = 20;
  for (int round = 0; round < kRounds; ++round) {
    Step step("nonblocking, round %d", round);
    const int bytes = round * round * 500;
    const int root = round % size, to = (rank + 1) % size, from = (rank + size - 1) % size;
    Buffer shared(at(bytes)), mine(at(bytes)), all(at(bytes * size)), out(at(bytes)), in(at(bytes));
    if (rank == root) shared.fill({root, bytes});
    mine.fill({rank, bytes});
    out.fill({rank, round});
    int one = 1, sum = 0;
    MPI_Request requests[6];
    MPI_Irecv(in.data(), bytes, MPI_BYTE, MPI_ANY_SOURCE, MPI_ANY_TAG, MPI_COMM_WORLD, &requests[0]);
    MPI_Ibcast(shared.data(), bytes, MPI_BYTE, root, MPI_COMM_WORLD, &requests[1]);
    MPI_Iallgather(mine.data(), bytes, MPI_BYTE, all.data(), bytes, MPI_BYTE, MPI_COMM_WORLD, &requests[2]);
    MPI_Iallreduce(&one, &sum, 1, MPI_INT, MPI_SUM, MPI_COMM_WORLD, &requests[3]);
    MPI_Isend(out.data(), bytes, MPI_BYTE, to, round, MPI_COMM_WORLD, &requests[4]);
    MPI_Ibarrier(MPI_COMM_WORLD, &requests[5]);
    MPI_Status statuses[6];
    MPI_Waitall(6, requests, statuses);
    expect_status(statuses[0], from, round, bytes);
    in.expect_message({from, round});
    shared.expect_message({root, bytes});
    for (int peer = 0; peer < size; ++peer)
      expect_pattern(all.bytes() + peer * bytes, at(bytes), {peer, bytes});
    expect_equal(size, sum, "sum of ones");
  }
}

// Sends the columns of a matrix (a noncontiguous type) and receives them as rows.
void transposed(int rank, int size, int rows) {
  Step step("transposed matrix of %d rows", rows);
  MPI_Datatype column, one_column;
  MPI_Type_vector(rows, 1, size, MPI_INT, &column);
  MPI_Type_create_resized(column, 0, sizeof(int), &one_column);
  MPI_Type_commit(&one_column);
  std::vector<int> matrix(at(rows * size)), received(at(rows * size), -1);
  for (int row = 0; row < rows; ++row)
    for (int to = 0; to < size; ++to) matrix[at(row * size + to)] = (rank * 100 + to) * 100000 + row;
  MPI_Alltoall(matrix.data(), 1, one_column, received.data(), rows, MPI_INT, MPI_COMM_WORLD);
  for (int from = 0; from < size; ++from)
    for (int row = 0; row < rows; ++row)
      expect_equal((from * 100 + rank) * 100000 + row, received[at(from * rows + row)],
                   "a value of the matrix");
  MPI_Type_free(&one_column);
  MPI_Type_free(&column);
}

}  // namespace

int main(int argc, char** argv) {
  Program program(argc, argv, 2);
  const int rank = program.rank, size = program.size;
  for (const int bytes : {0, 1, 64, 1000, 4097, 9001, 65537, 400000}) one_to_all_and_back(rank, size, bytes);
  for (const int limit : {2, 100, 5000, 70000, 600000}) alltoallv(rank, size, limit);
  for (const int count : {1, 7, 1000, 20000, 100001}) reductions(rank, size, count);
  nonblocking(rank, size);
  for (const int rows : {1, 10, 3000, 40000}) transposed(rank, size, rows);
}
