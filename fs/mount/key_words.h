// What the mount keeps beside each key, in the words that its entry has for the room above
// (KeyWords, fs/keys/key_cache.h): so a warm request needs no table, lock or allocation to get from
// a key to its policy section or its node.
//
// Thread-safety: all, from any thread. Ownership: a section is valid as long as the PolicyHolder
// that its policy came from. Blocking: never. Errors: none.
#pragma once

#include <cstdint>

#include "fs/keys/key_cache.h"
#include "fs/policy/policy.h"

namespace keyfs {

// The section that decides for this id. The globs are tried once per policy, then it is one load.
// Threads that meet may try them twice, and find the same.
const PolicySection& section_of(const KeyEntry& entry, const Policy& policy);

// The node id that the kernel knows this key by; 0: none. Written by the InodeTable, under its lock
// for the entry; read without one, so it may be a node that the kernel has just forgotten.
inline uint64_t node_of(const KeyEntry& entry) {
  return entry.words().number.load(std::memory_order_acquire);
}
inline void set_node(const KeyEntry& entry, uint64_t node) {
  entry.words().number.store(node, std::memory_order_release);
}

}  // namespace keyfs
