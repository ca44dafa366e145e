#include "pair.hpp"

#include <rdma/fi_cm.h>
#include <sched.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <set>

namespace raw {
namespace {

constexpr int kCqBatch = 16;

}  // namespace

Side* sides;
int self;

[[noreturn]] void die(const std::string& what) {
  fprintf(stderr, "fabric: %s\n", what.c_str());
  exit(1);
}

void check(ssize_t result, const char* call) {
  if (result < 0) die(std::string(call) + ": " + fi_strerror(static_cast<int>(-result)));
}

void barrier() {
  const uint64_t step = sides[self].arrived.fetch_add(1) + 1;
  while (sides[1 - self].arrived.load() < step) sched_yield();
}

Pair::Pair(const Options& options) : bytes_(std::max<size_t>(options.max_size, 4096)) {
  out = static_cast<unsigned char*>(aligned_alloc(4096, (bytes_ + 4095) / 4096 * 4096));
  in = static_cast<unsigned char*>(aligned_alloc(4096, (bytes_ + 4095) / 4096 * 4096));
  memset(out, 1 + self, bytes_);
  memset(in, 0, bytes_);

  const bool rma = options.pattern.starts_with("read_");
  fi_info* hints = fi_allocinfo();
  hints->caps = FI_TAGGED | FI_MSG | (rma ? uint64_t{FI_RMA | FI_READ | FI_REMOTE_READ} : 0);
  hints->mode = FI_CONTEXT;
  hints->ep_attr->type = FI_EP_RDM;
  hints->domain_attr->mr_mode =
      FI_MR_LOCAL | FI_MR_VIRT_ADDR | FI_MR_ALLOCATED | FI_MR_PROV_KEY | FI_MR_ENDPOINT;
  hints->domain_attr->threading = FI_THREAD_DOMAIN;
  hints->fabric_attr->prov_name = strdup(options.provider.c_str());
  // tcp;ofi_rxm needs an address: that of the loopback.
  const char* node = options.provider.find("tcp") != std::string::npos ? "127.0.0.1" : nullptr;
  check(fi_getinfo(FI_VERSION(1, 17), node, nullptr, node != nullptr ? FI_SOURCE : 0, hints, &list_),
        "fi_getinfo");
  fi_freeinfo(hints);

  std::set<std::string> seen;
  nics_.reserve(options.nics);
  for (fi_info* info = list_; info != nullptr && nics_.size() < options.nics; info = info->next) {
    if (!seen.insert(info->domain_attr->name).second) continue;
    Nic nic;
    check(fi_fabric(info->fabric_attr, &nic.fabric, nullptr), "fi_fabric");
    check(fi_domain(nic.fabric, info, &nic.domain, nullptr), "fi_domain");
    fi_av_attr av = {};
    av.type = FI_AV_TABLE;
    check(fi_av_open(nic.domain, &av, &nic.av, nullptr), "fi_av_open");
    fi_cq_attr cq = {};
    cq.format = FI_CQ_FORMAT_TAGGED;
    cq.size = 4096;
    check(fi_cq_open(nic.domain, &cq, &nic.cq, nullptr), "fi_cq_open");
    info->tx_attr->op_flags = 0;
    check(fi_endpoint(nic.domain, info, &nic.ep, nullptr), "fi_endpoint");
    check(fi_ep_bind(nic.ep, &nic.av->fid, 0), "fi_ep_bind");
    check(fi_ep_bind(nic.ep, &nic.cq->fid, FI_TRANSMIT | FI_RECV), "fi_ep_bind");
    check(fi_enable(nic.ep), "fi_enable");
    const size_t k = nics_.size();
    if (info->domain_attr->mr_mode & FI_MR_LOCAL || rma) {
      const uint64_t access = FI_SEND | FI_RECV | (rma ? uint64_t{FI_READ | FI_REMOTE_READ} : 0);
      check(fi_mr_reg(nic.domain, out, bytes_, access, 0, 2 * k, 0, &nic.out_mr, nullptr), "fi_mr_reg");
      check(fi_mr_reg(nic.domain, in, bytes_, access, 0, 2 * k + 1, 0, &nic.in_mr, nullptr), "fi_mr_reg");
      for (fid_mr* mr : {nic.out_mr, nic.in_mr}) {
        if (!(info->domain_attr->mr_mode & FI_MR_ENDPOINT)) continue;
        check(fi_mr_bind(mr, &nic.ep->fid, 0), "fi_mr_bind");
        check(fi_mr_enable(mr), "fi_mr_enable");
      }
      sides[self].key[k] = fi_mr_key(nic.out_mr);
      sides[self].base[k] =
          info->domain_attr->mr_mode & FI_MR_VIRT_ADDR ? reinterpret_cast<uint64_t>(out) : uint64_t{0};
    }
    nic.inject = info->tx_attr->inject_size;
    sides[self].address_bytes[k] = kAddressBytes;
    check(fi_getname(&nic.ep->fid, sides[self].address[k], &sides[self].address_bytes[k]), "fi_getname");
    nics_.push_back(nic);
  }
  if (nics_.size() < options.nics) {
    die("there are only " + std::to_string(nics_.size()) + " NICs, not " + std::to_string(options.nics));
  }
  barrier();
  for (size_t k = 0; k < nics_.size(); k++) {
    if (fi_av_insert(nics_[k].av, sides[1 - self].address[k], 1, &nics_[k].peer, 0, nullptr) != 1)
      die("fi_av_insert");
  }
  barrier();
}

Pair::~Pair() {
  for (Nic& nic : nics_) {
    fi_close(&nic.ep->fid);
    for (fid_mr* mr : {nic.out_mr, nic.in_mr}) {
      if (mr != nullptr) fi_close(&mr->fid);
    }
    fi_close(&nic.cq->fid);
    fi_close(&nic.av->fid);
    fi_close(&nic.domain->fid);
    fi_close(&nic.fabric->fid);
  }
  fi_freeinfo(list_);
  free(out);
  free(in);
}

void Pair::poll() {
  for (Nic& nic : nics_) {
    fi_cq_tagged_entry entries[kCqBatch];
    const ssize_t n = fi_cq_read(nic.cq, entries, kCqBatch);
    if (n > 0) completed_ += static_cast<size_t>(n);
    if (n == -FI_EAVAIL) {
      fi_cq_err_entry error = {};
      fi_cq_readerr(nic.cq, &error, 0);
      die(std::string("completion with error: ") +
          fi_cq_strerror(nic.cq, error.prov_errno, error.err_data, nullptr, 0));
    }
    if (n < 0 && n != -FI_EAGAIN) check(n, "fi_cq_read");
  }
}

}  // namespace raw
