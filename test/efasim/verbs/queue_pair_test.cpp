// Sends and receives over SRD and UD, as raw verbs see them.
#include <poll.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "peer.hpp"
#include "test/unit/catch.hpp"

using namespace verbs_test;

TEST_CASE("a message arrives with its data, length and sender", "[message]") {
  FabricDirectory fabric;
  REQUIRE(run(fabric, {}, [] {
            Endpoint a, b;
            fill(a.buffer.data(), 8928, 3);
            ibv_ah* to_b = a.reach(b.address());
            for (const uint32_t length : {0u, 1u, 64u, 4096u, 8928u}) {
              EXPECT_EQ(b.post_receive(7, 0, 8928), 0);
              EXPECT_EQ(a.send(5, to_b, b.address(), 0, length), 0);
              const Result received = b.wait();
              EXPECT_EQ(received.wr_id, 7);
              EXPECT_EQ(received.status, 0);
              EXPECT_EQ(received.opcode, IBV_WC_RECV);
              EXPECT_EQ(received.length, length);
              EXPECT_EQ(received.slid, 0xffff);  // b has no address handle for a
              EXPECT(matches(b.buffer.data(), length, 3));
              const Result sent = a.wait();
              EXPECT_EQ(sent.wr_id, 5);
              EXPECT_EQ(sent.status, 0);
              EXPECT_EQ(sent.opcode, IBV_WC_SEND);
            }
            b.reach(a.address());
            EXPECT_EQ(b.post_receive(8, 0, 64), 0);
            EXPECT_EQ(a.send_imm(6, to_b, b.address(), 0, 64, 0x12345678), 0);
            const Result received = b.wait();
            EXPECT_EQ(received.imm, 0x12345678);
            EXPECT_EQ(received.flags, IBV_WC_WITH_IMM);
            EXPECT_EQ(received.slid, 0);  // now it has
            a.wait();
          }) == 0);
  CHECK(fabric.counter("tx_packets") == 6);
  CHECK(fabric.counter("rx_packets") == 6);
  CHECK(fabric.counter("tx_bytes") == 1 + 64 + 4096 + 8928 + 64);
  CHECK(fabric.counter("rx_bytes") == 1 + 64 + 4096 + 8928 + 64);
  CHECK(fabric.counter("violations") == 0);
  CHECK(fabric.files().empty());
}

TEST_CASE("inline data may be overwritten at once", "[message]") {
  FabricDirectory fabric;
  REQUIRE(run(fabric, {}, [] {
            Endpoint a, b;
            ibv_ah* to_b = a.reach(b.address());
            char text[32] = "thirty-one characters, and zero";
            EXPECT_EQ(a.send_inline(1, to_b, b.address(), text, 32), 0);
            memset(text, 'x', sizeof text);
            EXPECT_EQ(b.post_receive(2, 0, 32), 0);  // the send meets no receive first, and is sent again
            EXPECT_EQ(b.wait().length, 32);
            EXPECT(strcmp(reinterpret_cast<char*>(b.buffer.data()), "thirty-one characters, and zero") == 0);
            EXPECT_EQ(a.send_inline(1, to_b, b.address(), text, 33), EINVAL);
          }) == 0);
  CHECK(fabric.log().find("inline data of 33 bytes") != std::string::npos);
}

TEST_CASE("two pieces are gathered and scattered", "[message]") {
  FabricDirectory fabric;
  REQUIRE(run(fabric, {}, [] {
            Endpoint a, b;
            ibv_ah* to_b = a.reach(b.address());
            fill(a.buffer.data(), 300, 9);
            memmove(a.buffer.data() + 1000, a.buffer.data() + 100, 200);
            ibv_sge out[2] = {a.piece(0, 100), a.piece(1000, 200)};
            ibv_sge in[2] = {b.piece(0, 150), b.piece(500, 150)};
            ibv_recv_wr receive = {}, *bad = nullptr;
            receive.sg_list = in;
            receive.num_sge = 2;
            EXPECT_EQ(ibv_post_recv(b.qp, &receive, &bad), 0);
            ibv_wr_start(a.qpx);
            ibv_wr_send(a.qpx);
            ibv_wr_set_sge_list(a.qpx, 2, out);
            ibv_wr_set_ud_addr(a.qpx, to_b, b.address().qpn, b.address().qkey);
            EXPECT_EQ(ibv_wr_complete(a.qpx), 0);
            EXPECT_EQ(b.wait().length, 300);
            memmove(b.buffer.data() + 150, b.buffer.data() + 500, 150);
            EXPECT(matches(b.buffer.data(), 300, 9));
          }) == 0);
}

TEST_CASE("an aborted batch posts nothing", "[message]") {
  FabricDirectory fabric;
  REQUIRE(run(fabric, {}, [] {
            Endpoint a, b;
            ibv_ah* to_b = a.reach(b.address());
            EXPECT_EQ(b.post_receive(1, 0, 64), 0);
            ibv_wr_start(a.qpx);
            ibv_wr_send(a.qpx);
            ibv_wr_set_sge(a.qpx, a.mr->lkey, a.address().buffer, 64);
            ibv_wr_set_ud_addr(a.qpx, to_b, b.address().qpn, b.address().qkey);
            ibv_wr_abort(a.qpx);
            b.expect_silence(20);
            EXPECT_EQ(a.send(1, to_b, b.address(), 0, 64), 0);
            EXPECT_EQ(b.wait().status, 0);
          }) == 0);
  CHECK(fabric.counter("tx_packets") == 1);
}

TEST_CASE("without a receive the sender retries, or learns it", "[message]") {
  FabricDirectory fabric;
  REQUIRE(run(fabric, {}, [] {
            Options once;
            once.rnr_retry = 0;
            Endpoint a(once), b;
            ibv_ah* to_b = a.reach(b.address());
            EXPECT_EQ(a.send(1, to_b, b.address(), 0, 64), 0);
            b.expect_silence(10);  // b's poll answers
            const Result refused = a.wait();
            EXPECT_EQ(refused.status, 10);
            EXPECT_EQ(refused.verbs_status, IBV_WC_RNR_RETRY_EXC_ERR);

            Endpoint patient;  // 7: without end
            ibv_ah* from_patient = patient.reach(b.address());
            EXPECT_EQ(patient.send(2, from_patient, b.address(), 0, 64), 0);
            patient.expect_silence(50);
            EXPECT_EQ(b.post_receive(3, 0, 64), 0);
            EXPECT_EQ(b.wait().wr_id, 3);
            EXPECT_EQ(patient.wait().status, 0);
          }) == 0);
  CHECK(fabric.counter("rnr_sent") >= 3);
  CHECK(fabric.counter("rnr_received") == fabric.counter("rnr_sent"));
}

TEST_CASE("datagrams have a prefix, and are dropped without a posted receive", "[message]") {
  FabricDirectory fabric;
  REQUIRE(run(fabric, {}, [] {
            Options ud;
            ud.type = IBV_QPT_UD;
            Endpoint a(ud), b(ud);
            ibv_ah* to_b = a.reach(b.address());
            fill(a.buffer.data(), 100, 1);
            EXPECT_EQ(a.send(1, to_b, b.address(), 0, 100), 0);
            EXPECT_EQ(a.wait().status, 0);
            b.expect_silence(20);
            EXPECT_EQ(b.post_receive(2, 0, 140), 0);
            EXPECT_EQ(a.send(3, to_b, b.address(), 0, 100), 0);
            const Result received = b.wait();
            EXPECT_EQ(received.length, 140);
            EXPECT(matches(b.buffer.data() + 40, 100, 1));
            Address wrong = b.address();
            wrong.qkey++;
            EXPECT_EQ(a.send(4, to_b, wrong, 0, 100), 0);
            a.wait();
            EXPECT_EQ(a.wait().status, 0);  // the sender gets no error
          }) == 0);
  CHECK(fabric.counter("dropped") == 1);
}

TEST_CASE("an armed completion queue speaks once through its channel", "[message]") {
  FabricDirectory fabric;
  REQUIRE(run(fabric, {}, [] {
            Options with_channel;
            with_channel.channel = ibv_create_comp_channel;
            Endpoint a, b(with_channel);
            ibv_ah* to_b = a.reach(b.address());
            EXPECT_EQ(ibv_req_notify_cq(ibv_cq_ex_to_cq(b.cq), 0), 0);
            EXPECT_EQ(b.post_receive(1, 0, 64), 0);
            EXPECT_EQ(b.post_receive(2, 0, 64), 0);
            EXPECT_EQ(a.send(1, to_b, b.address(), 0, 64), 0);
            EXPECT_EQ(a.send(2, to_b, b.address(), 0, 64), 0);
            // Nobody polls: the device itself must deliver and speak.
            pollfd ready = {b.channel->fd, POLLIN, 0};
            EXPECT_EQ(::poll(&ready, 1, 10'000), 1);
            ibv_cq* cq = nullptr;
            void* user = nullptr;
            EXPECT_EQ(ibv_get_cq_event(b.channel, &cq, &user), 0);
            EXPECT(cq == ibv_cq_ex_to_cq(b.cq));
            ibv_ack_cq_events(cq, 1);
            b.wait();
            b.wait();
            EXPECT_EQ(::poll(&ready, 1, 0), 0);
          }) == 0);
}

TEST_CASE("jitter and holding reorder packets, the same way for the same seed", "[message]") {
  const auto order = [](const char* link) {
    FabricDirectory fabric;
    Pipe pipe;
    constexpr int kMessages = 40;
    REQUIRE(run(fabric, {{"EFASIM_LINK", link}}, [&] {
              Endpoint a, b;
              ibv_ah* to_b = a.reach(b.address());
              for (int i = 0; i < kMessages; i++) EXPECT_EQ(b.post_receive(1, 0, 64), 0);
              for (int i = 0; i < kMessages; i++) {
                EXPECT_EQ(a.send_imm(1, to_b, b.address(), 0, 64, static_cast<uint32_t>(i)), 0);
              }
              for (int i = 0; i < kMessages; i++) pipe.put(b.wait().imm);
            }) == 0);
    std::vector<uint32_t> seen;
    for (int i = 0; i < kMessages; i++) seen.push_back(pipe.get<uint32_t>());
    return std::make_pair(seen, fabric.counter("out_of_order"));
  };
  // Held for 50 ms: far longer than posting takes, so that the order does not depend on the machine.
  const auto [first, overtaken] = order("reorder=0.2,hold=50ms,seed=3");
  const auto [again, unused] = order("reorder=0.2,hold=50ms,seed=3");
  const auto [other, unused2] = order("reorder=0.2,hold=50ms,seed=4");
  CHECK(first == again);
  CHECK(first != other);
  CHECK(overtaken > 0);
  std::vector<uint32_t> all = first;
  std::sort(all.begin(), all.end());
  for (uint32_t i = 0; i < all.size(); i++) CHECK(all[i] == i);
}
