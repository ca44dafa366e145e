// User memory registered with the NICs for RDMA. The efa provider caches registrations; libfabric's memory monitor
// invalidates them when the memory is released (munmap, free, sbrk). So registering a buffer again is a look-up, and no
// registration is kept here longer than the message.
#pragma once

#include <rdma/fi_domain.h>

#include <array>
#include <cstdint>
#include <deque>
#include <vector>

#include "fabric/rail.hpp"
#include "interface/counters.h"
#include "protocol/rails.hpp"

namespace efa {

// One buffer, registered with some rails of the transport.
class Registration {
 public:
  void* descriptor(unsigned rail) const {
    return regions_[rail] ? fi_mr_desc(regions_[rail].get()) : nullptr;
  }
  unsigned rails() const { return rails_; }  // number of rails, at least 1
  uint64_t key(unsigned rail) const { return fi_mr_key(regions_[rail].get()); }

 private:
  friend class Registrations;
  std::array<FidPtr<fid_mr>, kMostRails> regions_;
  unsigned rails_ = 0;
};

// All registrations of a process that are in use. Not thread-safe: the transport's lock covers it.
class Registrations {
 public:
  // Registers `length` bytes with `count` rails for `access` (FI_READ: target of our reads; FI_REMOTE_READ: source of a
  // peer's): from `first` on, and after rail `known` - 1 comes rail 0. With fewer if one refuses (FI_ENOMEM: what may be
  // registered is limited, and each rail counts), null if the first does.
  Registration* make(Rails& rails, efa_counters& counters, void* memory, size_t length, unsigned first,
                     unsigned count, unsigned known, uint64_t access);
  void drop(Registration* registration);
  // Before the rails are closed: releases the registrations of requests that will never complete.
  void clear();
  size_t regions() const { return regions_; }  // in use, one for each buffer and rail

 private:
  std::deque<Registration> all_;
  std::vector<Registration*> unused_;
  size_t regions_ = 0;
};

}  // namespace efa
