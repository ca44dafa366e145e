// How long a benchmark has to run, when the user says for how long instead of how often.
#pragma once

// So many rounds as fill `seconds`. `run(rounds)` returns what they took, in seconds, the same on all processes: rounds
// that take a tenth of the time tell how many fit into the whole. They have to take it twice: the first messages also
// connect, register and open further NICs, and an interrupted process loses as much as thousands of short messages.
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
