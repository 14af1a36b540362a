// What the FUSE side asks for when the cache does not have it: the keyring and the list of keys,
// behind one interface. It costs a virtual call where a request waits for a disk or a network
// anyway; without it every test of a FUSE operation, and the fuzzer, would need a store and regions
// to make an open hang or fail.
//
// Thread-safety: none; on the loop's thread, where listings are also released; except
// listed_bytes(), from any thread. Blocking: never; calls that wait are tasks, cancelled by
// dropping them. Errors: those of the functions that it forwards to.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "fs/keys/keyring.h"
#include "fs/upkeep/key_list.h"

namespace keyfs {

class FuseBackend {
 public:
  virtual ~FuseBackend() = default;
  // See Keyring::open(), refresh() and describe().
  virtual Task<Result<std::optional<Opened>>> open(OpenRequest request) = 0;
  virtual void refresh(KeyRef entry) = 0;
  virtual Task<Result<std::optional<KeyInfo>>> describe(std::string id, TimePoint deadline,
                                                        ForUser caller) = 0;
  // See KeyList::open().
  virtual std::shared_ptr<KeyListing> list() = 0;
  // The size of a key that was listed; see KeyList::listed_bytes().
  virtual std::optional<uint32_t> listed_bytes(std::string_view id) const = 0;
};

class KeyringBackend final : public FuseBackend {
 public:
  KeyringBackend(Keyring& keyring, KeyList& list) : keyring_(keyring), list_(list) {}

  Task<Result<std::optional<Opened>>> open(OpenRequest request) override {
    return keyring_.open(std::move(request));
  }
  void refresh(KeyRef entry) override { keyring_.refresh(std::move(entry)); }
  Task<Result<std::optional<KeyInfo>>> describe(std::string id, TimePoint deadline,
                                                ForUser caller) override {
    return keyring_.describe(std::move(id), deadline, caller);
  }
  std::shared_ptr<KeyListing> list() override { return list_.open(); }
  std::optional<uint32_t> listed_bytes(std::string_view id) const override {
    return list_.listed_bytes(id);
  }

 private:
  Keyring& keyring_;
  KeyList& list_;
};

}  // namespace keyfs
