// User memory made known to the NICs for RDMA. The efa provider keeps registrations in a cache of its own,
// which libfabric's memory monitor empties when the memory goes away (munmap, free, sbrk); so registering a
// buffer again costs a look-up, and nothing is kept here beyond the message.
#pragma once

#include <rdma/fi_domain.h>

#include <array>
#include <cstdint>
#include <deque>
#include <vector>

#include "rail.hpp"
#include "wire.hpp"

struct efa_transport;

namespace efa {

// One buffer, known to some rails of the transport.
class Registration {
 public:
  void* descriptor(unsigned rail) const {
    return regions_[rail] ? fi_mr_desc(regions_[rail].get()) : nullptr;
  }
  unsigned rails() const { return rails_; }  // how many they are, at least one
  uint64_t key(unsigned rail) const { return fi_mr_key(regions_[rail].get()); }

 private:
  friend class Registrations;
  std::array<FidPtr<fid_mr>, kMostRails> regions_;
  unsigned rails_ = 0;
};

// All registrations of a transport that are in use. Not thread-safe: the transport's lock covers it.
class Registrations {
 public:
  // Registers `length` bytes with `rails` rails for `access` (FI_READ: target of our reads; FI_REMOTE_READ: source of a
  // peer's): from `first` on, and after rail `known` - 1 comes rail 0. With fewer if one refuses (FI_ENOMEM: what may be
  // registered is limited, and each rail counts), null if the first does.
  Registration* make(efa_transport* t, void* memory, size_t length, unsigned first, unsigned rails, unsigned known,
                     uint64_t access);
  void drop(Registration* registration);
  // Before the rails are closed: ends what requests that will never complete still hold.
  void clear();

 private:
  std::deque<Registration> all_;
  std::vector<Registration*> unused_;
};

}  // namespace efa
