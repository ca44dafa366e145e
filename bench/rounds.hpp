// The number of rounds of a benchmark, if the user gives a time instead of a number.
#pragma once

// The number of rounds that takes about `seconds`. `run(rounds)` runs them and returns their time in seconds, which must
// be the same on all processes. The result is extrapolated from rounds that take at least a tenth of `seconds`, in two
// measurements in a row: the first messages also connect, register and open further NICs, and an interruption of the
// process costs as much as thousands of short messages.
template <class Run>
int rounds_to_fill(double seconds, Run run) {
  int rounds = 1;
  for (bool again = false;;) {
    const double taken = run(rounds);
    if (taken <= seconds / 10) {
      rounds *= 2;
      again = false;
    } else if (again) {
      return static_cast<int>(1 + rounds * (seconds / taken));
    } else {
      again = true;
    }
  }
}
