// Reading the completion queue.
#include "catch.hpp"
#include "fake_transport.hpp"

using namespace fake;

TEST_CASE("Reading the completion queue is repeated after FI_EINTR, for entries and for errors") {
  Transport fixture;
  const auto data = pattern(100);
  Request sent, failed;
  fixture.send(sent, fixture.one, 3, data.data(), 100);
  fixture.send(failed, fixture.one, 3, data.data(), 100);
  fixture.fabric.complete(fixture.fabric.take(Call::tagged_send));
  fixture.fabric.interrupted = 1;
  CHECK(efa_progress(fixture.t) == 0);
  CHECK(sent.times == 0);
  CHECK(efa_progress(fixture.t) == 1);
  CHECK(sent.times == 1);
  fixture.fabric.fail(fixture.fabric.take(Call::tagged_send).context, FI_EIO);
  for (int looks = 0; looks < 4 && failed.times == 0; ++looks) {
    // First fi_cq_read is interrupted, then fi_cq_readerr.
    fixture.fabric.interrupted = looks == 0;
    fixture.fabric.interrupts_errors = looks == 1;
    efa_progress(fixture.t);
  }
  CHECK(failed.times == 1);
  CHECK(failed.status.result == EFA_FAILED);
  CHECK(fixture.fatals.empty());
}

TEST_CASE("An error of the first NIC's endpoint ends the job, but not while the transport closes") {
  const bool closing = GENERATE(false, true);
  Transport x;
  x.t->rails.first.eq.reset(&x.fabric.eq);
  for (int polls = 0; polls < 100; ++polls) efa_progress(x.t);
  CHECK(x.fatals.empty());
  if (closing) x.t->begin_draining();
  x.fabric.events.push_back(GENERATE(FI_ENOMEM, -FI_ENOMEM));
  for (int polls = 0; polls < 100; ++polls) efa_progress(x.t);
  REQUIRE(x.fatals.size() == (closing ? 0 : 1));
  if (closing) return;
  CHECK_THAT(x.fatals[0], Contains("NIC fake0") && Contains("the endpoint failed") &&
                              Contains("Unresponsive receiver (13)") && Contains("ulimit -l"));
}

TEST_CASE("An error that belongs to no operation ends the job, but not while the transport closes") {
  const bool closing = GENERATE(false, true);
  Transport x;
  if (closing) x.t->begin_draining();
  x.fabric.fail(nullptr, FI_EIO, 13);
  x.progress();
  CHECK(x.fatals.size() == (closing ? 0 : 1));
  CHECK(x.reports.empty());
}
