// Faults on request, processes that die, and progress without the program.
#include <csignal>

#include "peer.hpp"
#include "test/unit/catch.hpp"

using namespace verbs_test;

namespace {

void sleep_ms(unsigned ms) { usleep(ms * 1000); }

}  // namespace

TEST_CASE("packets fail as a rule asks", "[fault]") {
  const struct {
    const char* rule;
    int status;
  } faults[] = {{"rnr:at=2", 10}, {"bad_qpn:at=2", 9}, {"abort:at=2", 8}, {"unresponsive:at=2", 13}};
  for (const auto& fault : faults) {
    INFO(fault.rule);
    FabricDirectory fabric;
    REQUIRE(run(fabric, {{"EFASIM_FAULTS", fault.rule}, {"EFASIM_UNRESPONSIVE_MS", "30"}}, [&] {
              Options once;
              once.rnr_retry = 0;
              Endpoint a(once), b;
              ibv_ah* to_b = a.reach(b.address());
              for (uint64_t i = 1; i <= 3; i++) {
                EXPECT_EQ(b.post_receive(i, 0, 64), 0);
                EXPECT_EQ(a.send(i, to_b, b.address(), 0, 64), 0);
                if (i != 2) EXPECT_EQ(b.wait().status, 0);
                EXPECT_EQ(a.wait().status, i == 2 ? fault.status : 0);
              }
            }) == 0);
    CHECK(fabric.counter("faults") == 1);
    CHECK(fabric.counter("rx_packets") == 2);
  }
}

TEST_CASE("registration and address handles fail as a rule asks", "[fault]") {
  FabricDirectory fabric;
  REQUIRE(run(fabric, {{"EFASIM_FAULTS", "mr_refused:at=2;ah_exhausted:at=1"}}, [] {
            Endpoint e;  // the first registration
            unsigned char memory[64];
            EXPECT(ibv_reg_mr(e.pd, memory, 64, 0) == nullptr);
            EXPECT_EQ(errno, ENOMEM);
            ibv_mr* mr = ibv_reg_mr(e.pd, memory, 64, 0);
            EXPECT(mr != nullptr);
            EXPECT_EQ(ibv_dereg_mr(mr), 0);
            ibv_ah_attr attr = {};
            attr.port_num = 1;
            EXPECT(ibv_create_ah(e.pd, &attr) == nullptr);
            EXPECT_EQ(errno, ENOMEM);
            e.reach(e.address());
          }) == 0);
}

TEST_CASE("a NIC that dies flushes its work, and its peers get no answer", "[fault]") {
  FabricDirectory fabric;
  REQUIRE(run(fabric, {{"EFASIM_FAULTS", "nic_dies:at=3,nic=0"}, {"EFASIM_UNRESPONSIVE_MS", "30"}}, [] {
            Options other;
            other.nic = 1;
            Endpoint a, b(other);
            ibv_ah* to_b = a.reach(b.address());
            ibv_ah* to_a = b.reach(a.address());
            EXPECT_EQ(a.post_receive(100, 0, 64), 0);
            for (uint64_t i = 1; i <= 2; i++) EXPECT_EQ(a.send(i, to_b, b.address(), 0, 64), 0);  // no receive there
            EXPECT_EQ(a.send(3, to_b, b.address(), 0, 64), 0);
            for (int i = 0; i < 4; i++) EXPECT_EQ(a.wait().verbs_status, IBV_WC_WR_FLUSH_ERR);  // 3 sends, 1 receive
            EXPECT_EQ(a.send(4, to_b, b.address(), 0, 64), EINVAL);
            EXPECT_EQ(b.send(5, to_a, a.address(), 0, 64), 0);
            EXPECT_EQ(b.wait().status, 13);
            ibv_port_attr port = {};
            EXPECT_EQ(ibv_query_port(a.context, 1, &port), 0);
            EXPECT_EQ(port.state, IBV_PORT_DOWN);
          }) == 0);
  CHECK(fabric.log().find("the NIC dies") != std::string::npos);
}

TEST_CASE("a process kills itself as a rule asks; its peer learns that it is gone", "[fault]") {
  FabricDirectory fabric;
  Pipe to_victim, to_survivor;
  Child victim(fabric, {{"EFASIM_FAULTS", "kill:at=1"}}, [&] {
    Endpoint e;
    to_survivor.put(e.address());
    const Address peer = to_victim.get<Address>();
    e.send(1, e.reach(peer), peer, 0, 64);
  });
  Child survivor(fabric, {}, [&] {
    Endpoint e;
    const Address peer = to_survivor.get<Address>();
    ibv_ah* ah = e.reach(peer);
    EXPECT_EQ(e.send(1, ah, peer, 0, 64), 0);  // never received
    to_victim.put(e.address());
    EXPECT_EQ(e.wait().status, 9);
    EXPECT_EQ(e.send(2, ah, peer, 0, 64), 0);
    EXPECT_EQ(e.wait().status, 9);
  });
  CHECK(victim.finish() == 128 + SIGKILL);
  CHECK(survivor.finish() == 0);
  CHECK(fabric.files().empty());  // the survivor removed it
}

TEST_CASE("what dead processes left is reclaimed by the next start", "[fault]") {
  FabricDirectory fabric;
  Pipe ready;
  std::vector<Child> victims;
  for (int i = 0; i < 3; i++) {
    victims.emplace_back(fabric, Environment{}, [&] {
      Endpoint a, b;
      ready.put('x');
      sleep(60);
    });
    ready.get<char>();
  }
  CHECK(fabric.files().size() == 9);
  for (Child& victim : victims) victim.kill();
  for (Child& victim : victims) CHECK(victim.finish() == 128 + SIGKILL);
  CHECK(fabric.files().size() == 9);
  REQUIRE(run(fabric, {}, [&] {
            Endpoint e;
            EXPECT_EQ(fabric.files().size(), 2);  // its own
          }) == 0);
  CHECK(fabric.files().empty());
}

TEST_CASE("messages complete while both programs compute", "[progress]") {
  FabricDirectory fabric;
  Pipe to_sender, to_receiver;
  constexpr uint32_t kMessages = 50, kSize = 1000;
  Child receiver(fabric, {}, [&] {
    Endpoint e;
    for (uint32_t i = 0; i < kMessages; i++) EXPECT_EQ(e.post_receive(i, i * kSize, kSize), 0);
    to_sender.put(e.address());
    to_receiver.get<char>();                                 // the sender has posted everything
    sleep_ms(300);                                           // "computes": neither side calls the device
    EXPECT(matches(e.buffer.data(), kMessages * kSize, 8));  // before any poll
    for (uint32_t i = 0; i < kMessages; i++) EXPECT_EQ(e.wait().status, 0);
  });
  Child sender(fabric, {}, [&] {
    Endpoint e;
    const Address peer = to_sender.get<Address>();
    ibv_ah* ah = e.reach(peer);
    fill(e.buffer.data(), kMessages * kSize, 8);
    for (uint32_t i = 0; i < kMessages; i++) EXPECT_EQ(e.send(i, ah, peer, i * kSize, kSize), 0);
    to_receiver.put('x');
    sleep_ms(300);
    for (uint32_t i = 0; i < kMessages; i++) EXPECT_EQ(e.wait().status, 0);
  });
  CHECK(sender.finish() == 0);
  CHECK(receiver.finish() == 0);
  CHECK(fabric.counter("engine") > 0);
}

TEST_CASE("a refused send is sent again while both programs compute", "[progress]") {
  FabricDirectory fabric;
  Pipe to_sender, to_receiver;
  Child receiver(fabric, {}, [&] {
    Endpoint e;
    to_sender.put(e.address());
    to_receiver.get<char>();
    sleep_ms(30);  // refusals go on
    EXPECT_EQ(e.post_receive(1, 0, 64), 0);
    sleep_ms(300);
    EXPECT(matches(e.buffer.data(), 64, 8));
  });
  Child sender(fabric, {}, [&] {
    Endpoint e;
    const Address peer = to_sender.get<Address>();
    ibv_ah* ah = e.reach(peer);
    fill(e.buffer.data(), 64, 8);
    EXPECT_EQ(e.send(1, ah, peer, 0, 64), 0);
    to_receiver.put('x');
    sleep_ms(300);
    EXPECT_EQ(e.wait().status, 0);
  });
  CHECK(sender.finish() == 0);
  CHECK(receiver.finish() == 0);
  CHECK(fabric.counter("rnr_received") > 0);
}

TEST_CASE("a long RDMA read completes while its program computes", "[progress]") {
  for (const char* cma : {"1", "0"}) {
    INFO("EFASIM_CMA=" << cma);
    FabricDirectory fabric;
    Pipe to_reader, to_target;
    constexpr uint32_t kSize = 8 << 20;
    Options options;
    options.operations = kAllRdma;
    options.access = kAllAccess;
    options.buffer_size = kSize;
    Child target(fabric, {{"EFASIM_CMA", cma}}, [&] {
      Endpoint e(options);
      e.reach(to_target.get<Address>());
      fill(e.buffer.data(), kSize, 6);
      to_reader.put(e.address());
      to_target.get<char>();
    });
    Child reader(fabric, {{"EFASIM_CMA", cma}}, [&] {
      Endpoint e(options);
      to_target.put(e.address());
      const Address peer = to_reader.get<Address>();
      EXPECT_EQ(e.read(1, e.reach(peer), peer, 0, kSize, 0), 0);
      sleep_ms(1500);
      Result result;
      EXPECT(e.poll(&result));  // at the first look: it was complete
      EXPECT_EQ(result.status, 0);
      EXPECT(matches(e.buffer.data(), kSize, 6));
      to_target.put('x');
    });
    CHECK(reader.finish() == 0);
    CHECK(target.finish() == 0);
  }
}
