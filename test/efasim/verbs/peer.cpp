#include "peer.hpp"

#include <signal.h>
#include <sys/wait.h>
#include <time.h>

#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "fabric.hpp"
#include "stats.hpp"

namespace verbs_test {
namespace fs = std::filesystem;

FabricDirectory::FabricDirectory() {
  path_ = (access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp") + std::string("/efasim-test.XXXXXX");
  if (mkdtemp(path_.data()) == nullptr) abort();
}

FabricDirectory::~FabricDirectory() {
  std::error_code ignored;
  fs::remove_all(path_, ignored);
}

std::vector<std::string> FabricDirectory::files() const {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(path_)) {
    const std::string name = entry.path().filename();
    if (name.rfind("qp.", 0) == 0 || name.rfind("proc.", 0) == 0) names.push_back(name);
  }
  return names;
}

uint64_t FabricDirectory::counter(const std::string& name) const {
  const efasim::FabricShared* fabric = efasim::Fabric::inspect(path_);
  if (fabric == nullptr) return 0;
  const std::string text = efasim::stats_json(*fabric);
  const size_t at = text.find("\"" + name + "\": ", text.find("\"total\""));
  return at == std::string::npos ? 0 : strtoull(text.c_str() + at + name.size() + 4, nullptr, 10);
}

std::string FabricDirectory::log() const {
  std::ifstream file(path_ + "/log");
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

Child::Child(const FabricDirectory& fabric, const Environment& environment, const std::function<void()>& body) {
  fflush(nullptr);
  pid_ = fork();
  if (pid_ < 0) abort();
  if (pid_ > 0) return;
  setenv("EFASIM_DIR", fabric.path().c_str(), 1);
  setenv("EFASIM_LOG", (fabric.path() + "/log").c_str(), 1);
  setenv("EFASIM_PROFILE", "p5.48xlarge", 1);
  setenv("EFASIM_NODE", "n0", 1);
  setenv("EFASIM_QUIET", "1", 1);  // violations are what many tests want: they are in the log
  for (const auto& [name, value] : environment) setenv(name.c_str(), value.c_str(), 1);
  alarm(60);  // a hang is a failure
  body();
  fflush(nullptr);
  exit(0);
}

int Child::finish() {
  int status = 0;
  if (pid_ < 0 || waitpid(pid_, &status, 0) != pid_) return -1;
  pid_ = -1;
  return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

void Child::kill() { ::kill(pid_, SIGKILL); }

int run(const FabricDirectory& fabric, const Environment& environment, const std::function<void()>& body) {
  return Child(fabric, environment, body).finish();
}

Pipe::Pipe() {
  if (pipe(fds_) != 0) abort();
}

Endpoint::Endpoint(const Options& options) : buffer(options.buffer_size), rnr_retry_(options.rnr_retry) {
  static uint32_t next_qkey = 1000 + static_cast<uint32_t>(getpid());
  qkey_ = next_qkey++;
  int num = 0;
  ibv_device** list = ibv_get_device_list(&num);
  EXPECT(static_cast<int>(options.nic) < num);
  context = ibv_open_device(list[options.nic]);
  ibv_free_device_list(list);
  EXPECT(context != nullptr);
  pd = ibv_alloc_pd(context);
  if (options.channel != nullptr) channel = options.channel(context);
  ibv_cq_init_attr_ex cq_attr = {};
  cq_attr.cqe = options.cq_depth;
  cq_attr.channel = channel;
  cq_attr.wc_flags = IBV_WC_STANDARD_FLAGS;
  cq = ibv_create_cq_ex(context, &cq_attr);
  EXPECT(cq != nullptr);
  mr = ibv_reg_mr(pd, buffer.data(), buffer.size(), options.access);
  EXPECT(mr != nullptr);

  ibv_qp_init_attr_ex attr = {};
  attr.qp_type = options.type;
  attr.send_cq = attr.recv_cq = ibv_cq_ex_to_cq(cq);
  attr.cap.max_send_wr = options.send_depth;
  attr.cap.max_recv_wr = options.receive_depth;
  attr.cap.max_send_sge = attr.cap.max_recv_sge = 2;
  attr.cap.max_inline_data = 32;
  attr.comp_mask = IBV_QP_INIT_ATTR_PD | IBV_QP_INIT_ATTR_SEND_OPS_FLAGS;
  attr.pd = pd;
  attr.send_ops_flags = options.operations;
  efadv_qp_init_attr efa = {};
  efa.driver_qp_type = EFADV_QP_DRIVER_TYPE_SRD;
#ifdef EFASIM_HAVE_UNSOLICITED
  efa.flags = options.qp_flags;
#endif
  qp = efadv_create_qp_ex(context, &attr, &efa, sizeof efa);
  EXPECT(qp != nullptr);
  qpx = ibv_qp_to_qp_ex(qp);
  if (!options.up) return;
  EXPECT_EQ(modify(IBV_QPS_INIT), 0);
  EXPECT_EQ(modify(IBV_QPS_RTR), 0);
  EXPECT_EQ(modify(IBV_QPS_RTS), 0);
}

Endpoint::~Endpoint() {
  EXPECT_EQ(ibv_destroy_qp(qp), 0);
  for (ibv_ah* ah : handles_) EXPECT_EQ(ibv_destroy_ah(ah), 0);
  EXPECT_EQ(ibv_dereg_mr(mr), 0);
  EXPECT_EQ(ibv_destroy_cq(ibv_cq_ex_to_cq(cq)), 0);
  if (channel != nullptr) EXPECT_EQ(ibv_destroy_comp_channel(channel), 0);
  EXPECT_EQ(ibv_dealloc_pd(pd), 0);
  EXPECT_EQ(ibv_close_device(context), 0);
}

int Endpoint::modify(ibv_qp_state state) {
  ibv_qp_attr attr = {};
  int mask = IBV_QP_STATE;
  attr.qp_state = state;
  if (state == IBV_QPS_INIT) {
    attr.qkey = qkey_;
    attr.port_num = 1;
    mask |= IBV_QP_PKEY_INDEX | IBV_QP_PORT | IBV_QP_QKEY;
  } else if (state == IBV_QPS_RTS) {
    attr.rnr_retry = rnr_retry_;
    mask |= IBV_QP_SQ_PSN | IBV_QP_RNR_RETRY;
  }
  return ibv_modify_qp(qp, &attr, mask);
}

Address Endpoint::address() const {
  Address address = {};
  ibv_gid gid;
  EXPECT_EQ(ibv_query_gid(context, 1, 0, &gid), 0);
  memcpy(address.gid, gid.raw, sizeof gid.raw);
  address.qpn = qp->qp_num;
  address.qkey = qkey_;
  address.rkey = mr->rkey;
  address.buffer = reinterpret_cast<uint64_t>(buffer.data());
  return address;
}

ibv_ah* Endpoint::reach(const Address& peer) {
  ibv_ah_attr attr = {};
  attr.is_global = 1;
  attr.port_num = 1;
  memcpy(attr.grh.dgid.raw, peer.gid, sizeof peer.gid);
  ibv_ah* ah = ibv_create_ah(pd, &attr);
  EXPECT(ah != nullptr);
  handles_.push_back(ah);
  return ah;
}

ibv_sge Endpoint::piece(uint64_t offset, uint32_t length) const {
  return {reinterpret_cast<uint64_t>(buffer.data()) + offset, length, mr->lkey};
}

int Endpoint::post_receive(uint64_t wr_id, const ibv_sge& sge) {
  ibv_sge copy = sge;
  ibv_recv_wr wr = {}, *bad = nullptr;
  wr.wr_id = wr_id;
  wr.sg_list = &copy;
  wr.num_sge = 1;
  return ibv_post_recv(qp, &wr, &bad);
}

int Endpoint::post_receive(uint64_t wr_id, uint64_t offset, uint32_t length) {
  return post_receive(wr_id, piece(offset, length));
}

int Endpoint::send(uint64_t wr_id, ibv_ah* ah, const Address& peer, const ibv_sge& sge) {
  ibv_wr_start(qpx);
  qpx->wr_id = wr_id;
  ibv_wr_send(qpx);
  ibv_wr_set_sge(qpx, sge.lkey, sge.addr, sge.length);
  ibv_wr_set_ud_addr(qpx, ah, peer.qpn, peer.qkey);
  return ibv_wr_complete(qpx);
}

int Endpoint::send(uint64_t wr_id, ibv_ah* ah, const Address& peer, uint64_t offset, uint32_t length) {
  return send(wr_id, ah, peer, piece(offset, length));
}

int Endpoint::send_imm(uint64_t wr_id, ibv_ah* ah, const Address& peer, uint64_t offset, uint32_t length,
                       uint32_t imm) {
  ibv_wr_start(qpx);
  qpx->wr_id = wr_id;
  ibv_wr_send_imm(qpx, imm);
  const ibv_sge sge = piece(offset, length);
  ibv_wr_set_sge_list(qpx, 1, &sge);
  ibv_wr_set_ud_addr(qpx, ah, peer.qpn, peer.qkey);
  return ibv_wr_complete(qpx);
}

int Endpoint::send_inline(uint64_t wr_id, ibv_ah* ah, const Address& peer, const void* data, size_t length) {
  ibv_wr_start(qpx);
  qpx->wr_id = wr_id;
  ibv_wr_send(qpx);
  ibv_wr_set_inline_data(qpx, const_cast<void*>(data), length);
  ibv_wr_set_ud_addr(qpx, ah, peer.qpn, peer.qkey);
  return ibv_wr_complete(qpx);
}

int Endpoint::read(uint64_t wr_id, ibv_ah* ah, const Address& peer, uint64_t offset, uint32_t length,
                   uint64_t remote_offset) {
  ibv_wr_start(qpx);
  qpx->wr_id = wr_id;
  ibv_wr_rdma_read(qpx, peer.rkey, peer.buffer + remote_offset);
  const ibv_sge sge = piece(offset, length);
  ibv_wr_set_sge(qpx, sge.lkey, sge.addr, sge.length);
  ibv_wr_set_ud_addr(qpx, ah, peer.qpn, peer.qkey);
  return ibv_wr_complete(qpx);
}

int Endpoint::write(uint64_t wr_id, ibv_ah* ah, const Address& peer, uint64_t offset, uint32_t length,
                    uint64_t remote_offset) {
  ibv_wr_start(qpx);
  qpx->wr_id = wr_id;
  ibv_wr_rdma_write(qpx, peer.rkey, peer.buffer + remote_offset);
  const ibv_sge sge = piece(offset, length);
  ibv_wr_set_sge(qpx, sge.lkey, sge.addr, sge.length);
  ibv_wr_set_ud_addr(qpx, ah, peer.qpn, peer.qkey);
  return ibv_wr_complete(qpx);
}

int Endpoint::write_imm(uint64_t wr_id, ibv_ah* ah, const Address& peer, uint64_t offset, uint32_t length,
                        uint64_t remote_offset, uint32_t imm) {
  ibv_wr_start(qpx);
  qpx->wr_id = wr_id;
  ibv_wr_rdma_write_imm(qpx, peer.rkey, peer.buffer + remote_offset, imm);
  const ibv_sge sge = piece(offset, length);
  ibv_wr_set_sge(qpx, sge.lkey, sge.addr, sge.length);
  ibv_wr_set_ud_addr(qpx, ah, peer.qpn, peer.qkey);
  return ibv_wr_complete(qpx);
}

bool Endpoint::poll(Result* result) {
  ibv_poll_cq_attr attr = {};
  if (ibv_start_poll(cq, &attr) != 0) return false;
  *result = {cq->wr_id,
             static_cast<int>(ibv_wc_read_vendor_err(cq)),
             cq->status,
             ibv_wc_read_opcode(cq),
             ibv_wc_read_byte_len(cq),
             ibv_wc_read_imm_data(cq),
             ibv_wc_read_wc_flags(cq),
             ibv_wc_read_slid(cq)};
  ibv_end_poll(cq);
  return true;
}

Result Endpoint::wait() {
  const time_t end = time(nullptr) + 20;
  Result result;
  while (!poll(&result)) EXPECT(time(nullptr) < end);
  return result;
}

void Endpoint::expect_silence(unsigned ms) {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  const auto milliseconds = [](const timespec& t) { return t.tv_sec * 1000 + t.tv_nsec / 1'000'000; };
  const long end = milliseconds(now) + static_cast<long>(ms);
  Result result;
  while (milliseconds(now) < end) {
    EXPECT(!poll(&result));
    clock_gettime(CLOCK_MONOTONIC, &now);
  }
}

void fill(unsigned char* data, size_t size, unsigned seed) {
  for (size_t i = 0; i < size; i++) data[i] = static_cast<unsigned char>((i * 2654435761u + seed) >> 13);
}

bool matches(const unsigned char* data, size_t size, unsigned seed) {
  for (size_t i = 0; i < size; i++) {
    if (data[i] != static_cast<unsigned char>((i * 2654435761u + seed) >> 13)) return false;
  }
  return true;
}

}  // namespace verbs_test
