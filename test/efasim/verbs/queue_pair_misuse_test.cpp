// Wrong use: each gives the status of the hardware and a line in the log. Limits that can be reached.
#include <sys/mman.h>

#include "peer.hpp"
#include "test/unit/catch.hpp"

using namespace verbs_test;

TEST_CASE("local keys and lengths are checked", "[strict]") {
  FabricDirectory fabric;
  REQUIRE(run(fabric, {}, [] {
            Endpoint a, b;
            ibv_ah* to_b = a.reach(b.address());
            for (int i = 0; i < 8; i++) EXPECT_EQ(b.post_receive(1, 0, 16384), 0);

            ibv_sge bad = a.piece(0, 64);
            bad.lkey ^= 1;
            EXPECT_EQ(a.send(1, to_b, b.address(), bad), 0);
            const Result key = a.wait();
            EXPECT_EQ(key.status, 5);
            EXPECT_EQ(key.verbs_status, IBV_WC_LOC_PROT_ERR);
            EXPECT_EQ(a.send(2, to_b, b.address(), a.buffer.size() - 63, 64), 0);  // a byte beyond
            EXPECT_EQ(a.wait().status, 5);
            ibv_sge foreign = b.piece(0, 64);  // of another protection domain
            EXPECT_EQ(a.send(3, to_b, b.address(), foreign), 0);
            EXPECT_EQ(a.wait().status, 5);
            EXPECT_EQ(a.send(4, to_b, b.address(), 0, 8929), 0);  // above the MTU
            const Result length = a.wait();
            EXPECT_EQ(length.status, 6);
            EXPECT_EQ(length.verbs_status, IBV_WC_LOC_LEN_ERR);
            EXPECT_EQ(a.send(5, to_b, b.address(), 0, 8928), 0);
            EXPECT_EQ(a.wait().status, 0);
          }) == 0);
  CHECK(fabric.counter("violations") == 4);
  CHECK(fabric.counter("errors") == 4);
  CHECK(fabric.counter("tx_packets") == 1);
  const std::string log = fabric.log();
  CHECK(log.find("rdmap") != std::string::npos);  // names the device
  CHECK(log.find("QP 0: lkey") != std::string::npos);
  CHECK(log.find("8929 bytes is longer") != std::string::npos);
}

TEST_CASE("receives are checked where they are used", "[strict]") {
  FabricDirectory fabric;
  REQUIRE(run(fabric, {}, [] {
            Endpoint a, b;
            ibv_ah* to_b = a.reach(b.address());
            EXPECT_EQ(b.post_receive(1, 0, 63), 0);  // too short
            EXPECT_EQ(a.send(1, to_b, b.address(), 0, 64), 0);
            EXPECT_EQ(b.wait().status, 6);
            const Result sent = a.wait();
            EXPECT_EQ(sent.status, 11);
            EXPECT_EQ(sent.verbs_status, IBV_WC_REM_INV_REQ_ERR);
            ibv_mr* read_only = ibv_reg_mr(b.pd, b.buffer.data(), 64, 0);
            EXPECT(read_only != nullptr);
            ibv_sge sge = b.piece(0, 64);
            sge.lkey = read_only->lkey;
            EXPECT_EQ(b.post_receive(2, sge), 0);
            EXPECT_EQ(a.send(2, to_b, b.address(), 0, 64), 0);
            EXPECT_EQ(b.wait().status, 5);
            EXPECT_EQ(a.wait().status, 12);
            EXPECT_EQ(ibv_dereg_mr(read_only), 0);
          }) == 0);
}

TEST_CASE("wrong destinations are answered", "[strict]") {
  FabricDirectory fabric;
  REQUIRE(run(fabric, {{"EFASIM_UNRESPONSIVE_MS", "50"}}, [] {
            Endpoint a, b;
            ibv_ah* to_b = a.reach(b.address());
            Address wrong = b.address();
            wrong.qpn = 1000;
            EXPECT_EQ(a.send(1, to_b, wrong, 0, 64), 0);
            const Result qpn = a.wait();
            EXPECT_EQ(qpn.status, 9);
            EXPECT_EQ(qpn.verbs_status, IBV_WC_REM_INV_RD_REQ_ERR);
            wrong = b.address();
            wrong.qkey++;
            EXPECT_EQ(a.send(2, to_b, wrong, 0, 64), 0);
            EXPECT_EQ(a.wait().status, 9);
            Address nowhere = b.address();
            nowhere.gid[9] ^= 0x55;
            ibv_ah* to_nowhere = a.reach(nowhere);
            EXPECT_EQ(a.send(3, to_nowhere, nowhere, 0, 64), 0);
            const Result unreachable = a.wait();
            EXPECT_EQ(unreachable.status, 15);
            EXPECT_EQ(unreachable.verbs_status, IBV_WC_RESP_TIMEOUT_ERR);
            {
              Endpoint gone;
              wrong = gone.address();
            }
            EXPECT_EQ(a.send(4, to_b, wrong, 0, 64), 0);
            EXPECT_EQ(a.wait().status, 9);
          }) == 0);
}

TEST_CASE("a packet on its way to a queue pair that goes is answered", "[strict]") {
  FabricDirectory fabric;
  // A tick of 10 s: the packet is not received before the queue pair is destroyed.
  REQUIRE(run(fabric, {{"EFASIM_TICK_US", "10000000"}}, [] {
            Endpoint a;
            auto* b = new Endpoint;
            ibv_ah* to_b = a.reach(b->address());
            EXPECT_EQ(a.send(1, to_b, b->address(), 0, 64), 0);
            delete b;
            EXPECT_EQ(a.wait().status, 9);
          }) == 0);
}

TEST_CASE("states are kept to", "[strict]") {
  FabricDirectory fabric;
  REQUIRE(run(fabric, {}, [] {
            Options down;
            down.up = false;
            Endpoint a(down), b;
            ibv_ah* to_b = a.reach(b.address());
            EXPECT_EQ(a.send(1, to_b, b.address(), 0, 64), EINVAL);
            EXPECT_EQ(a.post_receive(1, 0, 64), EINVAL);
            EXPECT_EQ(a.modify(IBV_QPS_RTS), EINVAL);  // not from RESET
            ibv_qp_attr attr = {};
            attr.qp_state = IBV_QPS_INIT;
            EXPECT_EQ(ibv_modify_qp(a.qp, &attr, IBV_QP_STATE), EINVAL);  // without qkey, port, pkey
            EXPECT_EQ(a.modify(IBV_QPS_INIT), 0);
            EXPECT_EQ(a.post_receive(1, 0, 64), 0);
            EXPECT_EQ(b.send(1, b.reach(a.address()), a.address(), 0, 64), 0);
            EXPECT_EQ(b.wait().status, 9);  // nothing is accepted before RTR
            EXPECT_EQ(a.modify(IBV_QPS_RTR), 0);
            EXPECT_EQ(a.send(1, to_b, b.address(), 0, 64), EINVAL);
            EXPECT_EQ(a.modify(IBV_QPS_RTS), 0);
            EXPECT_EQ(a.modify(IBV_QPS_ERR), 0);
            const Result flushed = a.wait();
            EXPECT_EQ(flushed.wr_id, 1);
            EXPECT_EQ(flushed.verbs_status, IBV_WC_WR_FLUSH_ERR);
          }) == 0);
  CHECK(fabric.log().find("state 0, which is not RTS") != std::string::npos);
}

TEST_CASE("full queues refuse, and take again", "[strict]") {
  FabricDirectory fabric;
  REQUIRE(run(fabric, {{"EFASIM_LIMITS", "sq=4,rq=4"}}, [] {
            Options small;
            small.send_depth = small.receive_depth = 4;
            Endpoint a(small), b(small);
            ibv_ah* to_b = a.reach(b.address());
            for (uint64_t i = 0; i < 4; i++) EXPECT_EQ(a.send(i, to_b, b.address(), 0, 64), 0);
            EXPECT_EQ(a.send(4, to_b, b.address(), 0, 64), ENOMEM);
            for (uint64_t i = 0; i < 4; i++) EXPECT_EQ(b.post_receive(i, 0, 64), 0);
            EXPECT_EQ(b.post_receive(4, 0, 64), ENOMEM);
            for (int i = 0; i < 4; i++) EXPECT_EQ(b.wait().status, 0);
            for (int i = 0; i < 4; i++) EXPECT_EQ(a.wait().status, 0);
            EXPECT_EQ(a.send(4, to_b, b.address(), 0, 64), 0);
            efadv_device_attr attr = {};
            EXPECT_EQ(efadv_query_device(a.context, &attr, sizeof attr), 0);
            EXPECT_EQ(attr.max_sq_wr, 4);
          }) == 0);
}

TEST_CASE("an overrun completion queue is noticed", "[strict]") {
  FabricDirectory fabric;
  REQUIRE(run(fabric, {}, [] {
            Options tiny;
            tiny.cq_depth = 2;
            Endpoint a, b(tiny);
            ibv_ah* to_b = a.reach(b.address());
            for (uint64_t i = 0; i < 3; i++) EXPECT_EQ(b.post_receive(i, 0, 64), 0);
            for (uint64_t i = 0; i < 3; i++) EXPECT_EQ(a.send(i, to_b, b.address(), 0, 64), 0);
            for (uint64_t i = 0; i < 3; i++) a.wait();
            EXPECT_EQ(b.qp->state, IBV_QPS_ERR);
            EXPECT_EQ(b.post_receive(9, 0, 64), EINVAL);
          }) == 0);
  CHECK(fabric.log().find("overrun of a completion queue of 2 entries") != std::string::npos);
}

TEST_CASE("limits of registration, address handles and queue pairs", "[strict]") {
  FabricDirectory fabric;
  REQUIRE(run(fabric, {{"EFASIM_LIMITS", "mr_bytes=128Ki,ah=1,qp=2,cq=3"}}, [] {
            Endpoint a, b;  // each registers 64 KiB
            unsigned char more[64];
            EXPECT(ibv_reg_mr(a.pd, more, sizeof more, 0) == nullptr);
            EXPECT_EQ(errno, ENOMEM);
            ibv_ah* ah = a.reach(b.address());
            EXPECT(a.reach(b.address()) != ah);  // the same peer: one number
            efadv_ah_attr number = {};
            EXPECT_EQ(efadv_query_ah(ah, &number, sizeof number), 0);
            EXPECT_EQ(number.ahn, 0);
            ibv_ah_attr other = {};
            other.port_num = 1;
            other.grh.dgid.raw[15] = 7;
            EXPECT(ibv_create_ah(a.pd, &other) == nullptr);
            EXPECT_EQ(errno, ENOMEM);
            ibv_qp_init_attr_ex attr = {};
            attr.qp_type = IBV_QPT_DRIVER;
            attr.send_cq = attr.recv_cq = ibv_cq_ex_to_cq(a.cq);
            attr.comp_mask = IBV_QP_INIT_ATTR_PD;
            attr.pd = a.pd;
            efadv_qp_init_attr efa = {};
            EXPECT(efadv_create_qp_ex(a.context, &attr, &efa, sizeof efa) == nullptr);
            EXPECT_EQ(errno, ENOMEM);
          }) == 0);
}

TEST_CASE("registration fails where nothing is mapped", "[strict]") {
  FabricDirectory fabric;
  REQUIRE(run(fabric, {}, [] {
            Endpoint e;
            auto* memory =
                static_cast<char*>(mmap(nullptr, 3 * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
            EXPECT_EQ(munmap(memory + 4096, 4096), 0);
            EXPECT(ibv_reg_mr(e.pd, memory, 3 * 4096, 0) == nullptr);
            EXPECT_EQ(errno, EFAULT);
            ibv_mr* mr = ibv_reg_mr(e.pd, memory, 4096, 0);
            EXPECT(mr != nullptr);
            EXPECT_EQ(ibv_dereg_mr(mr), 0);
          }) == 0);
}

TEST_CASE("memory that may not be written is registered for reading only", "[strict]") {
  FabricDirectory fabric;
  REQUIRE(run(fabric, {}, [] {
            Endpoint e;
            void* memory = mmap(nullptr, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
            ibv_mr* mr = ibv_reg_mr(e.pd, memory, 4096, 0);
            EXPECT(mr != nullptr);
            EXPECT_EQ(ibv_dereg_mr(mr), 0);
            EXPECT(ibv_reg_mr(e.pd, memory, 4096, IBV_ACCESS_LOCAL_WRITE) == nullptr);
            EXPECT_EQ(errno, EFAULT);
          }) == 0);
}

TEST_CASE("what is in use is not destroyed", "[strict]") {
  FabricDirectory fabric;
  REQUIRE(run(fabric, {}, [] {
            Endpoint e;
            EXPECT_EQ(ibv_dealloc_pd(e.pd), EBUSY);
            EXPECT_EQ(ibv_destroy_cq(ibv_cq_ex_to_cq(e.cq)), EBUSY);
          }) == 0);
}

TEST_CASE("without a directory there is no device, and the log says why", "[strict]") {
  FabricDirectory fabric;
  REQUIRE(run(fabric, {{"EFASIM_DIR", ""}}, [] {
            int num = 7;
            ibv_device** list = ibv_get_device_list(&num);
            EXPECT(list != nullptr);
            EXPECT_EQ(num, 0);
            ibv_free_device_list(list);
          }) == 0);
  CHECK(fabric.log().find("EFASIM_DIR is not set") != std::string::npos);
}
