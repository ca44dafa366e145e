#include "bench.hpp"

#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace bench {
namespace {

constexpr size_t kPage = 4096;

char* pages(size_t size) {
  char* memory = static_cast<char*>(std::aligned_alloc(kPage, (size / kPage + 1) * kPage));
  if (!memory) die("no memory for buffers of " + std::to_string(size) + " bytes");
  std::memset(memory, 1, size + 1);
  return memory;
}

}  // namespace

Bench::Bench(const Options& from) : options(from) {
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  MPI_Comm_size(MPI_COMM_WORLD, &ranks);
  out = pages(options.most);
  in = pages(options.most);
}

Bench::~Bench() {
  std::free(out);
  std::free(in);
}

double Bench::agree(double seconds) {
  MPI_Bcast(&seconds, 1, MPI_DOUBLE, 0, MPI_COMM_WORLD);
  return seconds;
}

void Bench::title(const std::string& text, const std::string& columns) const {
  if (rank) return;
  std::printf("# mtl_efa MPI %s, %d ranks%s\n# Size%s\n", text.c_str(), ranks,
              options.verify ? ", data verified" : "", columns.c_str());
  std::fflush(stdout);
}

void Bench::row(size_t size, std::initializer_list<double> values) const {
  if (rank) return;
  std::printf("%-12zu", size);
  for (double value : values) std::printf(" %17.2f", value);
  std::printf("\n");
  std::fflush(stdout);
}

namespace {

unsigned char byte_of(size_t at, int from, int i) {
  return static_cast<unsigned char>(at * 7 + at / 256 + static_cast<size_t>(from) * 31 +
                                    static_cast<size_t>(i) * 13);
}

}  // namespace

void Bench::fill(char* buffer, size_t size, int from, int i) const {
  if (!options.verify) return;
  for (size_t at = 0; at < size; ++at) buffer[at] = static_cast<char>(byte_of(at, from, i));
}

void Bench::check(const char* buffer, size_t size, int from, int i) const {
  if (!options.verify) return;
  for (size_t at = 0; at < size; ++at)
    if (static_cast<unsigned char>(buffer[at]) != byte_of(at, from, i))
      die("byte " + std::to_string(at) + " of message " + std::to_string(i) + " of " + std::to_string(size) +
          " bytes from rank " + std::to_string(from) + " is wrong");
}

double sum(const Bench&, double value) {
  double all = 0;
  MPI_Reduce(&value, &all, 1, MPI_DOUBLE, MPI_SUM, 0, MPI_COMM_WORLD);
  return all;
}

double mean(const Bench& b, double value) {
  return sum(b, value) / b.ranks;
}

void die(const std::string& text) {
  std::fprintf(stderr, "mpi_bench: %s\n", text.c_str());
  MPI_Abort(MPI_COMM_WORLD, 1);
  std::abort();
}

}  // namespace bench
