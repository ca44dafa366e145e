// RDMA read, write and write with immediate, within a process, between processes, and with the two ways to a
// peer's memory.
#include <cstring>

#include "peer.hpp"
#include "test/unit/catch.hpp"

using namespace verbs_test;

namespace {

Options rdma_options() {
  Options options;
  options.operations = kAllRdma;
  options.access = kAllAccess;
  options.buffer_size = 4 << 20;
  return options;
}

// One process serves its memory and sleeps; the other reads and writes all of it, and checks.
void between_processes(const Environment& environment) {
  FabricDirectory fabric;
  Pipe to_initiator, to_target;
  constexpr uint32_t kSize = 3 << 20;
  Child target(fabric, environment, [&] {
    Endpoint e(rdma_options());
    e.reach(to_target.get<Address>());
    fill(e.buffer.data(), kSize, 1);
    to_initiator.put(e.address());
    to_target.get<char>();  // not a single poll until then
    EXPECT(matches(e.buffer.data(), kSize, 2));
    to_initiator.put('x');
  });
  Child initiator(fabric, environment, [&] {
    Endpoint e(rdma_options());
    to_target.put(e.address());
    const Address peer = to_initiator.get<Address>();
    ibv_ah* ah = e.reach(peer);
    EXPECT_EQ(e.read(1, ah, peer, 0, kSize, 0), 0);
    EXPECT_EQ(e.wait().status, 0);
    EXPECT(matches(e.buffer.data(), kSize, 1));
    fill(e.buffer.data(), kSize, 2);
    // Several at once, of odd sizes.
    constexpr uint32_t kPart = kSize / 3 + 1;
    for (uint32_t i = 0; i < 3; i++) {
      EXPECT_EQ(e.write(i, ah, peer, i * kPart, std::min(kPart, kSize - i * kPart), i * kPart), 0);
    }
    for (uint32_t i = 0; i < 3; i++) EXPECT_EQ(e.wait().status, 0);
    to_target.put('x');
    to_initiator.get<char>();
  });
  CHECK(initiator.finish() == 0);
  CHECK(target.finish() == 0);
  CHECK(fabric.counter("rdma_reads") == 1);
  CHECK(fabric.counter("rdma_read_bytes") == kSize);
  CHECK(fabric.counter("rdma_read_served_bytes") == kSize);
  CHECK(fabric.counter("rdma_writes") == 3);
  CHECK(fabric.counter("rdma_write_bytes") == kSize);
  CHECK(fabric.counter("rdma_write_received_bytes") == kSize);
  CHECK(fabric.counter("violations") == 0);
  const bool in_packets = environment.count("EFASIM_CMA") > 0;
  CHECK((fabric.counter("tx_packets") > 0) == in_packets);
}

}  // namespace

TEST_CASE("a peer that never polls is read and written by cross-memory attach", "[rdma]") { between_processes({}); }

TEST_CASE("and in packets, where attach is forbidden", "[rdma]") { between_processes({{"EFASIM_CMA", "0"}}); }

TEST_CASE("and in packets through a ring of two, out of order", "[rdma]") {
  between_processes({{"EFASIM_CMA", "0"}, {"EFASIM_LIMITS", "ring=2"}, {"EFASIM_LINK", "jitter=20us"}});
}

TEST_CASE("and with a link model", "[rdma]") { between_processes({{"EFASIM_LINK", "latency=20us,rate=50G"}}); }

TEST_CASE("read and write within a process", "[rdma]") {
  FabricDirectory fabric;
  REQUIRE(run(fabric, {}, [] {
            Endpoint a(rdma_options()), b(rdma_options());
            ibv_ah* ah = a.reach(b.address());
            b.reach(a.address());
            fill(b.buffer.data(), 5000, 4);
            EXPECT_EQ(a.read(1, ah, b.address(), 100, 5000, 0), 0);
            const Result read = a.wait();
            EXPECT_EQ(read.status, 0);
            EXPECT_EQ(read.opcode, IBV_WC_SEND);  // as libefa 56 reports reads
            EXPECT(matches(a.buffer.data() + 100, 5000, 4));
            EXPECT_EQ(a.write(2, ah, b.address(), 100, 5000, 9000), 0);
            const Result write = a.wait();
            EXPECT_EQ(write.opcode, IBV_WC_RDMA_WRITE);
            EXPECT(matches(b.buffer.data() + 9000, 5000, 4));
            EXPECT_EQ(a.read(3, ah, b.address(), 0, 0, 0), 0);  // nothing, with success
            EXPECT_EQ(a.wait().status, 0);
          }) == 0);
}

TEST_CASE("a write with immediate data takes a receive", "[rdma]") {
  FabricDirectory fabric;
  REQUIRE(run(fabric, {}, [] {
            Endpoint a(rdma_options()), b(rdma_options());
            ibv_ah* ah = a.reach(b.address());
            b.reach(a.address());
            fill(a.buffer.data(), 300'000, 5);
            EXPECT_EQ(a.write_imm(1, ah, b.address(), 0, 300'000, 64, 99), 0);
            for (int i = 0; i < 1000; i++) {
              Result none;
              EXPECT(!b.poll(&none));  // no receive yet
              a.poll(&none);
            }
            EXPECT_EQ(b.post_receive(17, 0, 0), 0);
            const Result received = b.wait();
            EXPECT_EQ(received.wr_id, 17);
            EXPECT_EQ(received.opcode, IBV_WC_RECV_RDMA_WITH_IMM);
            EXPECT_EQ(received.imm, 99);
            EXPECT_EQ(received.length, 300'000);
            EXPECT(matches(b.buffer.data() + 64, 300'000, 5));
            EXPECT_EQ(a.wait().status, 0);
          }) == 0);
  CHECK(fabric.counter("rnr_received") > 0);
}

#ifdef EFASIM_HAVE_UNSOLICITED
TEST_CASE("a queue pair made for it takes writes with immediate data without a receive", "[rdma]") {
  FabricDirectory fabric;
  REQUIRE(run(fabric, {{"EFASIM_PROFILE", "p5en.48xlarge"}}, [] {
            Options unsolicited = rdma_options();
            unsolicited.qp_flags = EFADV_QP_FLAGS_UNSOLICITED_WRITE_RECV;
            Endpoint a(rdma_options()), b(unsolicited);
            ibv_ah* ah = a.reach(b.address());
            b.reach(a.address());
            EXPECT_EQ(a.write_imm(1, ah, b.address(), 0, 64, 0, 5), 0);
            const Result received = b.wait();
            EXPECT_EQ(received.wr_id, 0);
            EXPECT_EQ(received.imm, 5);
          }) == 0);
}
#endif

TEST_CASE("keys protect memory", "[rdma][strict]") {
  for (const char* cma : {"1", "0"}) {
    FabricDirectory fabric;
    Pipe to_initiator, to_target;
    Child target(fabric, {{"EFASIM_CMA", cma}}, [&] {
      Endpoint e(rdma_options());
      e.reach(to_target.get<Address>());
      to_initiator.put(e.address());
      to_target.get<char>();
      EXPECT_EQ(ibv_dereg_mr(e.mr), 0);
      e.mr = ibv_reg_mr(e.pd, e.buffer.data(), e.buffer.size(), IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_READ);
      EXPECT(e.mr != nullptr);
      to_initiator.put(e.address());
      to_target.get<char>();
    });
    Child initiator(fabric, {{"EFASIM_CMA", cma}}, [&] {
      Endpoint e(rdma_options());
      to_target.put(e.address());
      const Address peer = to_initiator.get<Address>();
      ibv_ah* ah = e.reach(peer);
      Address wrong = peer;
      wrong.rkey++;
      EXPECT_EQ(e.read(1, ah, wrong, 0, 64, 0), 0);
      EXPECT_EQ(e.wait().status, 7);
      EXPECT_EQ(e.read(2, ah, peer, 0, 65, (4 << 20) - 64), 0);  // one byte beyond
      const Result beyond = e.wait();
      EXPECT_EQ(beyond.status, 7);
      EXPECT_EQ(beyond.verbs_status, IBV_WC_REM_ACCESS_ERR);
      EXPECT_EQ(e.write(3, ah, peer, 0, 64, (4 << 20) - 63), 0);
      EXPECT_EQ(e.wait().status, 7);
      EXPECT_EQ(e.read(4, ah, peer, 0, 64, (4 << 20) - 64), 0);  // and just within
      EXPECT_EQ(e.wait().status, 0);
      to_target.put('x');
      const Address fresh = to_initiator.get<Address>();
      EXPECT_EQ(e.read(5, ah, peer, 0, 64, 0), 0);  // the old key of memory that is registered anew
      EXPECT_EQ(e.wait().status, 7);
      EXPECT_EQ(e.write(6, ah, fresh, 0, 64, 0), 0);  // a key without the right to write
      EXPECT_EQ(e.wait().status, 7);
      EXPECT_EQ(e.read(7, ah, fresh, 0, 64, 0), 0);
      EXPECT_EQ(e.wait().status, 0);
      to_target.put('x');
    });
    INFO("EFASIM_CMA=" << cma);
    CHECK(initiator.finish() == 0);
    CHECK(target.finish() == 0);
    CHECK(fabric.counter("violations") == 5);
    CHECK(fabric.log().find("rkey") != std::string::npos);
  }
}

TEST_CASE("RDMA needs an address handle at the peer", "[rdma][strict]") {
  FabricDirectory fabric;
  REQUIRE(run(fabric, {}, [] {
            Options other_nic = rdma_options();
            other_nic.nic = 1;
            Endpoint a(rdma_options()), b(other_nic);
            ibv_ah* ah = a.reach(b.address());
            EXPECT_EQ(a.read(1, ah, b.address(), 0, 64, 0), 0);
            const Result result = a.wait();
            EXPECT_EQ(result.status, 14);
            EXPECT_EQ(result.verbs_status, IBV_WC_REM_OP_ERR);
          }) == 0);
}

TEST_CASE("a NIC without RDMA refuses queue pairs and memory for it", "[rdma][strict]") {
  FabricDirectory fabric;
  REQUIRE(run(fabric, {{"EFASIM_PROFILE", "c5n.18xlarge"}}, [] {
            Endpoint e;
            efadv_device_attr attr = {};
            EXPECT_EQ(efadv_query_device(e.context, &attr, sizeof attr), 0);
            EXPECT_EQ(attr.device_caps & EFADV_DEVICE_ATTR_CAPS_RDMA_READ, 0);
            EXPECT_EQ(attr.max_rdma_size, 0);
            EXPECT(ibv_reg_mr(e.pd, e.buffer.data(), 64, IBV_ACCESS_REMOTE_READ) == nullptr);
            ibv_qp_init_attr_ex qp = {};
            qp.qp_type = IBV_QPT_DRIVER;
            qp.send_cq = qp.recv_cq = ibv_cq_ex_to_cq(e.cq);
            qp.comp_mask = IBV_QP_INIT_ATTR_PD | IBV_QP_INIT_ATTR_SEND_OPS_FLAGS;
            qp.pd = e.pd;
            qp.send_ops_flags = IBV_QP_EX_WITH_RDMA_READ;
            efadv_qp_init_attr efa = {};
            EXPECT(efadv_create_qp_ex(e.context, &qp, &efa, sizeof efa) == nullptr);
            EXPECT_EQ(errno, EOPNOTSUPP);
          }) == 0);
}
