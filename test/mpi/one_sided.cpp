// One-sided communication: windows of every flavor and every kind of synchronization, with checked data. Open MPI carries
// it with its osc components, over BTLs or over messages. Which one depends on how the pml was chosen, so the runner starts
// this program with and without a named pml.
//
//     one_sided active | passive | atomics | compare_and_swap | layouts | threads
#include <functional>
#include <thread>

#include "layouts.hpp"

using namespace efa::mpitest;

namespace {

constexpr std::array<int, 6> kBytes{0, 1, 8, 9001, 65537, 300001};
constexpr int kLargest = 300001;

std::size_t at(int i) {
  return static_cast<std::size_t>(i);
}

enum class Flavor { kCreate, kAllocate, kDynamic, kShared };
const char* name(Flavor flavor) {
  constexpr std::array names{"MPI_Win_create", "MPI_Win_allocate", "MPI_Win_create_dynamic",
                             "MPI_Win_allocate_shared"};
  return names[static_cast<std::size_t>(flavor)];
}

// All of them; between hosts there is no window of shared memory.
std::vector<Flavor> flavors() {
  MPI_Comm node;
  MPI_Comm_split_type(MPI_COMM_WORLD, MPI_COMM_TYPE_SHARED, 0, MPI_INFO_NULL, &node);
  int world_size, sizes[2] = {0, 0};
  MPI_Comm_size(MPI_COMM_WORLD, &world_size);
  MPI_Comm_size(node, &sizes[0]);
  MPI_Allreduce(&sizes[0], &sizes[1], 1, MPI_INT, MPI_MIN, MPI_COMM_WORLD);
  MPI_Comm_free(&node);
  std::vector<Flavor> all{Flavor::kCreate, Flavor::kAllocate, Flavor::kDynamic};
  if (sizes[1] == world_size) all.push_back(Flavor::kShared);
  return all;
}

// A window with `slots` slots of `slot` bytes each on every rank.
class Window {
 public:
  Window(Flavor flavor, int slots, int slot, MPI_Comm comm)
      : slot_(slot), dynamic_(flavor == Flavor::kDynamic) {
    const MPI_Aint bytes = static_cast<MPI_Aint>(slots) * slot;
    void* base = nullptr;
    if (flavor == Flavor::kCreate || dynamic_) {
      memory_.resize(static_cast<std::size_t>(bytes));
      base = memory_.data();
    }
    switch (flavor) {
      case Flavor::kCreate:
        MPI_Win_create(base, bytes, 1, MPI_INFO_NULL, comm, &win);
        break;
      case Flavor::kAllocate:
        MPI_Win_allocate(bytes, 1, MPI_INFO_NULL, comm, &base, &win);
        break;
      case Flavor::kShared:
        MPI_Win_allocate_shared(bytes, 1, MPI_INFO_NULL, comm, &base, &win);
        break;
      case Flavor::kDynamic:
        MPI_Win_create_dynamic(MPI_INFO_NULL, comm, &win);
        MPI_Win_attach(win, base, bytes);
        MPI_Aint mine;
        MPI_Get_address(base, &mine);
        int size;
        MPI_Comm_size(comm, &size);
        addresses_.resize(at(size));
        MPI_Allgather(&mine, 1, MPI_AINT, addresses_.data(), 1, MPI_AINT, comm);
    }
    base_ = static_cast<std::uint8_t*>(base);
    if (bytes) std::memset(base_, Buffer::kPoison, static_cast<std::size_t>(bytes));
    MPI_Barrier(comm);
  }
  ~Window() {
    if (dynamic_) {
      MPI_Barrier(MPI_COMM_WORLD);
      MPI_Win_detach(win, base_);
    }
    MPI_Win_free(&win);
  }
  Window(const Window&) = delete;
  Window& operator=(const Window&) = delete;

  // The target displacement of a slot on another rank.
  MPI_Aint displacement(int rank, int slot) const {
    return (dynamic_ ? addresses_[at(rank)] : 0) + static_cast<MPI_Aint>(slot) * slot_;
  }
  std::uint8_t* own(int slot) { return base_ + at(slot) * at(slot_); }

  MPI_Win win = MPI_WIN_NULL;

 private:
  int slot_;
  bool dynamic_;
  std::vector<std::uint8_t> memory_;
  std::vector<MPI_Aint> addresses_;
  std::uint8_t* base_ = nullptr;
};

// Identifies what `source` puts into its slot on `target`.
Key key_of(int source, int target, int round) {
  return {source, 100 + target, round};
}

// Every rank puts into its slot on every rank, then reads its slots back.
using Epoch = std::function<void(MPI_Win, const std::function<void()>&)>;

void put_and_get(const Program& program, Flavor flavor, const Epoch& epoch) {
  Window window(flavor, program.size, kLargest, MPI_COMM_WORLD);
  int round = 0;
  for (const int bytes : kBytes) {
    Step step("%s, %d bytes", name(flavor), bytes);
    ++round;
    std::vector<Buffer> out(at(program.size), Buffer(at(bytes))), in(at(program.size), Buffer(at(bytes)));
    epoch(window.win, [&] {
      for (int target = 0; target < program.size; ++target) {
        out[at(target)].fill(key_of(program.rank, target, round));
        MPI_Put(out[at(target)].data(), bytes, MPI_BYTE, target, window.displacement(target, program.rank),
                bytes, MPI_BYTE, window.win);
      }
    });
    MPI_Barrier(MPI_COMM_WORLD);
    MPI_Win_lock(MPI_LOCK_SHARED, program.rank, 0, window.win);
    for (int source = 0; source < program.size; ++source)
      expect_pattern(window.own(source), at(bytes), key_of(source, program.rank, round));
    MPI_Win_unlock(program.rank, window.win);
    MPI_Barrier(MPI_COMM_WORLD);
    epoch(window.win, [&] {
      for (int target = 0; target < program.size; ++target)
        MPI_Get(in[at(target)].data(), bytes, MPI_BYTE, target, window.displacement(target, program.rank),
                bytes, MPI_BYTE, window.win);
    });
    for (int target = 0; target < program.size; ++target)
      in[at(target)].expect_message(key_of(program.rank, target, round));
    MPI_Barrier(MPI_COMM_WORLD);
  }
}

void fenced(MPI_Win win, const std::function<void()>& operations) {
  MPI_Win_fence(0, win);
  operations();
  MPI_Win_fence(0, win);
  // A lock epoch may follow only if no fence epoch is open.
  MPI_Win_fence(MPI_MODE_NOPRECEDE | MPI_MODE_NOSUCCEED, win);
}

void post_start_complete_wait(MPI_Win win, const std::function<void()>& operations) {
  MPI_Group group;
  MPI_Win_get_group(win, &group);
  MPI_Win_post(group, 0, win);
  MPI_Win_start(group, 0, win);
  operations();
  MPI_Win_complete(win);
  MPI_Win_wait(win);
  MPI_Group_free(&group);
}

void active(const Program& program) {
  for (const Flavor flavor : flavors()) {
    put_and_get(program, flavor, fenced);
    put_and_get(program, flavor, post_start_complete_wait);
  }
}

void lock_all_and_flush(MPI_Win win, const std::function<void()>& operations) {
  MPI_Win_lock_all(0, win);
  operations();
  MPI_Win_flush_all(win);
  MPI_Win_unlock_all(win);
}

// Every rank reads, adds and writes back under an exclusive lock. If two ranks held the lock at once, counts would be lost.
void count_under_lock(const Program& program, Flavor flavor) {
  constexpr int kRounds = 50;
  Step step("%s, exclusive locks", name(flavor));
  Window window(flavor, 1, sizeof(std::int64_t), MPI_COMM_WORLD);
  std::int64_t zero = 0;
  MPI_Win_lock(MPI_LOCK_EXCLUSIVE, program.rank, 0, window.win);
  MPI_Put(&zero, 1, MPI_INT64_T, program.rank, window.displacement(program.rank, 0), 1, MPI_INT64_T,
          window.win);
  MPI_Win_unlock(program.rank, window.win);
  MPI_Barrier(MPI_COMM_WORLD);
  for (int i = 0; i < kRounds; ++i)
    for (int target = 0; target < program.size; ++target) {
      std::int64_t value = -1;
      MPI_Win_lock(MPI_LOCK_EXCLUSIVE, target, 0, window.win);
      MPI_Get(&value, 1, MPI_INT64_T, target, window.displacement(target, 0), 1, MPI_INT64_T, window.win);
      MPI_Win_flush(target, window.win);
      ++value;
      MPI_Put(&value, 1, MPI_INT64_T, target, window.displacement(target, 0), 1, MPI_INT64_T, window.win);
      MPI_Win_unlock(target, window.win);
    }
  MPI_Barrier(MPI_COMM_WORLD);
  std::int64_t counted = -1;
  MPI_Win_lock(MPI_LOCK_SHARED, program.rank, 0, window.win);
  MPI_Get(&counted, 1, MPI_INT64_T, program.rank, window.displacement(program.rank, 0), 1, MPI_INT64_T,
          window.win);
  MPI_Win_unlock(program.rank, window.win);
  expect_equal(static_cast<std::int64_t>(kRounds) * program.size, counted, "count under exclusive locks");
  MPI_Barrier(MPI_COMM_WORLD);
}

// Request-based operations (MPI_Rput, MPI_Rget).
void requests(const Program& program, Flavor flavor) {
  constexpr int kSize = 100000;
  Step step("%s, MPI_Rput and MPI_Rget", name(flavor));
  Window window(flavor, program.size, kSize, MPI_COMM_WORLD);
  std::vector<Buffer> out(at(program.size), Buffer(kSize)), in(at(program.size), Buffer(kSize));
  std::vector<MPI_Request> pending(at(program.size));
  MPI_Win_lock_all(0, window.win);
  for (int target = 0; target < program.size; ++target) {
    out[at(target)].fill(key_of(program.rank, target, 1));
    MPI_Rput(out[at(target)].data(), kSize, MPI_BYTE, target, window.displacement(target, program.rank),
             kSize, MPI_BYTE, window.win, &pending[at(target)]);
  }
  MPI_Waitall(program.size, pending.data(), MPI_STATUSES_IGNORE);
  MPI_Win_flush_all(window.win);
  for (int target = 0; target < program.size; ++target)
    MPI_Rget(in[at(target)].data(), kSize, MPI_BYTE, target, window.displacement(target, program.rank), kSize,
             MPI_BYTE, window.win, &pending[at(target)]);
  MPI_Waitall(program.size, pending.data(), MPI_STATUSES_IGNORE);
  MPI_Win_unlock_all(window.win);
  for (int target = 0; target < program.size; ++target)
    in[at(target)].expect_message(key_of(program.rank, target, 1));
}

void passive(const Program& program) {
  for (const Flavor flavor : flavors()) {
    put_and_get(program, flavor, lock_all_and_flush);
    count_under_lock(program, flavor);
    requests(program, flavor);
  }
}

// Slots of 8 bytes: slots 0 to 4 are for one kind of operation each; an array begins at slot 10.
void atomics(const Program& program, Flavor flavor) {
  constexpr int kRounds = 40, kArray = 1000;
  Step step("%s, atomic operations", name(flavor));
  Window window(flavor, 10 + kArray, sizeof(std::int64_t), MPI_COMM_WORLD);
  MPI_Win_lock(MPI_LOCK_EXCLUSIVE, program.rank, 0, window.win);
  std::memset(window.own(0), 0, sizeof(std::int64_t) * (10 + kArray));
  MPI_Win_unlock(program.rank, window.win);
  MPI_Barrier(MPI_COMM_WORLD);

  const std::int64_t mine = program.rank + 1;
  const std::int64_t sum_of_ranks = static_cast<std::int64_t>(program.size) * (program.size + 1) / 2;
  std::vector<std::int64_t> array(kArray);
  for (int i = 0; i < kArray; ++i) array[at(i)] = mine * i;
  std::vector<std::int64_t> tickets;
  MPI_Win_lock_all(0, window.win);
  for (int i = 0; i < kRounds; ++i)
    for (int target = 0; target < program.size; ++target) {
      MPI_Accumulate(&mine, 1, MPI_INT64_T, target, window.displacement(target, 0), 1, MPI_INT64_T, MPI_SUM,
                     window.win);
      const double half = 0.5;
      MPI_Accumulate(&half, 1, MPI_DOUBLE, target, window.displacement(target, 1), 1, MPI_DOUBLE, MPI_SUM,
                     window.win);
      MPI_Accumulate(&mine, 1, MPI_INT64_T, target, window.displacement(target, 2), 1, MPI_INT64_T, MPI_MAX,
                     window.win);
      MPI_Accumulate(array.data(), kArray, MPI_INT64_T, target, window.displacement(target, 10), kArray,
                     MPI_INT64_T, MPI_SUM, window.win);
      const std::int64_t one = 1;
      std::int64_t before = -1;
      MPI_Fetch_and_op(&one, &before, MPI_INT64_T, target, window.displacement(target, 3), MPI_SUM,
                       window.win);
      MPI_Win_flush(target, window.win);
      if (target == 0) tickets.push_back(before);
      std::int64_t fetched = -1;
      MPI_Get_accumulate(&mine, 1, MPI_INT64_T, &fetched, 1, MPI_INT64_T, target,
                         window.displacement(target, 4), 1, MPI_INT64_T, MPI_SUM, window.win);
      MPI_Win_flush(target, window.win);
      expect(fetched >= i * mine, "MPI_Get_accumulate returns at least what this rank added before");
    }
  MPI_Win_unlock_all(window.win);
  MPI_Barrier(MPI_COMM_WORLD);

  MPI_Win_lock(MPI_LOCK_SHARED, program.rank, 0, window.win);
  const auto whole = [&](int place) {
    std::int64_t value;
    std::memcpy(&value, window.own(place), sizeof value);
    return value;
  };
  double halves;
  std::memcpy(&halves, window.own(1), sizeof halves);
  expect_equal(kRounds * sum_of_ranks, whole(0), "MPI_Accumulate, MPI_SUM");
  expect_equal(0.5 * kRounds * program.size, halves, "MPI_Accumulate of doubles");
  expect_equal(program.size, whole(2), "MPI_Accumulate, MPI_MAX");
  expect_equal(kRounds * program.size, whole(3), "MPI_Fetch_and_op");
  expect_equal(kRounds * sum_of_ranks, whole(4), "MPI_Get_accumulate");
  for (int i = 0; i < kArray; ++i)
    expect_equal(kRounds * sum_of_ranks * i, whole(10 + i), "MPI_Accumulate of an array");
  MPI_Win_unlock(program.rank, window.win);

  // Every ticket was taken once.
  std::vector<std::int64_t> all(at(program.size) * kRounds);
  MPI_Allgather(tickets.data(), kRounds, MPI_INT64_T, all.data(), kRounds, MPI_INT64_T, MPI_COMM_WORLD);
  std::sort(all.begin(), all.end());
  for (int i = 0; i < program.size * kRounds; ++i) expect_equal(i, all[at(i)], "ticket of MPI_Fetch_and_op");
}

// Every rank adds 1 to a number on every rank, by compare-and-swap.
void compare_and_swap(const Program& program, Flavor flavor) {
  constexpr int kRounds = 40;
  Step step("%s, MPI_Compare_and_swap", name(flavor));
  Window window(flavor, 1, sizeof(std::int64_t), MPI_COMM_WORLD);
  MPI_Win_lock(MPI_LOCK_EXCLUSIVE, program.rank, 0, window.win);
  std::memset(window.own(0), 0, sizeof(std::int64_t));
  MPI_Win_unlock(program.rank, window.win);
  MPI_Barrier(MPI_COMM_WORLD);
  MPI_Win_lock_all(0, window.win);
  for (int i = 0; i < kRounds; ++i)
    for (int target = 0; target < program.size; ++target) {
      std::int64_t seen = 0, guess = 0, wanted = 0;
      do {
        guess = seen;
        wanted = guess + 1;
        MPI_Compare_and_swap(&wanted, &guess, &seen, MPI_INT64_T, target, window.displacement(target, 0),
                             window.win);
        MPI_Win_flush(target, window.win);
      } while (seen != guess);
    }
  MPI_Win_unlock_all(window.win);
  MPI_Barrier(MPI_COMM_WORLD);
  std::int64_t counted;
  MPI_Win_lock(MPI_LOCK_SHARED, program.rank, 0, window.win);
  std::memcpy(&counted, window.own(0), sizeof counted);
  MPI_Win_unlock(program.rank, window.win);
  expect_equal(kRounds * program.size, counted, "number of additions");
  MPI_Barrier(MPI_COMM_WORLD);
}

// Rank 0 puts one layout into another layout on rank 1, and gets it back into a third.
void layouts(const Program& program) {
  const std::vector<Layout> all = make_layouts();
  int round = 0;
  for (const int elements : {1, 300})
    for (std::size_t i = 0; i < all.size(); ++i) {
      const Layout &origin = all[i], &target = all[(i + 3) % all.size()], &back = all[(i + 7) % all.size()];
      Step step("%d elements, %s -> %s -> %s", elements, origin.name.c_str(), target.name.c_str(),
                back.name.c_str());
      ++round;
      Arena place(target, elements);
      MPI_Win win;
      MPI_Win_create(place.memory(), static_cast<MPI_Aint>(place.size()), 1, MPI_INFO_NULL, MPI_COMM_WORLD,
                     &win);
      const Key key{0, round};
      Arena out(origin, elements), in(back, elements);
      MPI_Win_fence(0, win);
      if (program.rank == 0) {
        out.fill(key);
        MPI_Put(out.origin(), elements, origin.type, 1, place.origin_offset(), elements, target.type, win);
      }
      MPI_Win_fence(0, win);
      if (program.rank == 0)
        MPI_Get(in.origin(), elements, back.type, 1, place.origin_offset(), elements, target.type, win);
      MPI_Win_fence(0, win);
      const std::size_t bytes = at(elements) * kBytesPerElement;
      if (program.rank == 0) in.expect_message(key, bytes);
      if (program.rank == 1) place.expect_message(key, bytes);
      MPI_Win_free(&win);
    }
}

// Several threads of every rank put, get and accumulate in one window at the same time.
void threads(const Program& program) {
  constexpr int kThreads = 4, kRounds = 60, kSlot = 5000;
  const int counter = program.size * kThreads;
  for (const Flavor flavor : {Flavor::kCreate, Flavor::kAllocate}) {
    Step step("%s, %d threads", name(flavor), kThreads);
    Window window(flavor, counter + 1, kSlot, MPI_COMM_WORLD);
    MPI_Win_lock_all(0, window.win);
    std::memset(window.own(counter), 0, sizeof(std::int64_t));
    MPI_Win_sync(window.win);
    MPI_Barrier(MPI_COMM_WORLD);
    std::vector<std::thread> running;
    for (int thread = 0; thread < kThreads; ++thread)
      running.emplace_back([&, thread] {
        const int slot = program.rank * kThreads + thread;
        for (int i = 0; i < kRounds; ++i) {
          Step round("thread %d, round %d", thread, i);
          const int target = (program.rank + i) % program.size;
          Buffer out(kSlot), in(kSlot);
          out.fill({program.rank, thread, i});
          MPI_Put(out.data(), kSlot, MPI_BYTE, target, window.displacement(target, slot), kSlot, MPI_BYTE,
                  window.win);
          MPI_Win_flush(target, window.win);
          MPI_Get(in.data(), kSlot, MPI_BYTE, target, window.displacement(target, slot), kSlot, MPI_BYTE,
                  window.win);
          const std::int64_t one = 1;
          MPI_Accumulate(&one, 1, MPI_INT64_T, target, window.displacement(target, counter), 1, MPI_INT64_T,
                         MPI_SUM, window.win);
          MPI_Win_flush(target, window.win);
          in.expect_message({program.rank, thread, i});
        }
      });
    for (std::thread& thread : running) thread.join();
    MPI_Win_unlock_all(window.win);
    MPI_Barrier(MPI_COMM_WORLD);
    MPI_Win_lock(MPI_LOCK_SHARED, program.rank, 0, window.win);
    std::int64_t counted;
    std::memcpy(&counted, window.own(counter), sizeof counted);
    MPI_Win_unlock(program.rank, window.win);
    expect_equal(kRounds * kThreads, counted, "MPI_Accumulate by threads");
    MPI_Barrier(MPI_COMM_WORLD);
  }
}

}  // namespace

int main(int argc, char** argv) {
  const std::string_view what = argc > 1 ? argv[1] : "";
  Program program(argc, argv, 2, what == "threads" ? MPI_THREAD_MULTIPLE : MPI_THREAD_SINGLE);
  if (what == "active")
    active(program);
  else if (what == "passive")
    passive(program);
  else if (what == "atomics")
    for (const Flavor flavor : flavors()) atomics(program, flavor);
  else if (what == "compare_and_swap")
    for (const Flavor flavor : flavors()) compare_and_swap(program, flavor);
  else if (what == "layouts")
    layouts(program);
  else if (what == "threads")
    threads(program);
  else
    expect(false, "the argument is active, passive, atomics, compare_and_swap, layouts or threads");
  return 0;
}
