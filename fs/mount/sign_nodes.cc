#include "fs/mount/sign_nodes.h"

#include <algorithm>
#include <utility>

namespace keyfs {

SignNodePtr SignNodes::look_up(const SignNode* directory, uint64_t parent, std::string_view name,
                               SignPlace place, bool lone) {
  std::string path;
  if (directory != nullptr) (path += directory->path()) += '/';
  const size_t name_at = path.size();
  path += name;
  std::lock_guard lock(mutex_);
  if (const auto known = by_path_.find(path); known != by_path_.end()) {
    SignNode& node = *known->second;
    ++node.lookups_;
    node.parent_ = parent;
    if (std::exchange(node.leaving_, false)) {
      // It was told to forget it, and has asked again: it may never hear of that twice.
      --leaving_;
      node.lone_ = lone_.insert(lone_.end(), &node);
    }
    return by_id_.at(node.id);
  }
  const auto taken = ids_.take_id(std::string(kSignName) + "/" + path);
  if (!taken) return nullptr;
  auto node = std::make_shared<SignNode>(*taken, std::move(place), std::move(path), name_at);
  node->lookups_ = 1;
  node->parent_ = parent;
  if (lone) node->lone_ = lone_.insert(lone_.end(), node.get());
  by_path_.emplace(node->path(), node.get());
  by_id_.emplace(node->id, node);
  return node;
}

SignNodePtr SignNodes::find(uint64_t id) const {
  std::lock_guard lock(mutex_);
  const auto found = by_id_.find(id);
  return found != by_id_.end() ? found->second : nullptr;
}

bool SignNodes::forget(uint64_t id, uint64_t count) {
  SignNodePtr gone;  // released after the lock
  std::lock_guard lock(mutex_);
  const auto found = by_id_.find(id);
  if (found == by_id_.end()) return false;
  SignNode& node = *found->second;
  if (count < node.lookups_) {
    node.lookups_ -= count;
    return true;
  }
  if (node.lone_) lone_.erase(*node.lone_);
  if (node.leaving_) --leaving_;
  by_path_.erase(node.path());
  gone = std::move(found->second);
  by_id_.erase(found);
  ids_.give_back_id({node.id, node.number_});
  return true;
}

std::optional<LeavingName> SignNodes::take_oldest_lone(size_t most) {
  std::lock_guard lock(mutex_);
  if (lone_.size() <= most) return std::nullopt;
  SignNode& oldest = *lone_.front();
  lone_.pop_front();
  oldest.lone_.reset();
  oldest.leaving_ = true;
  ++leaving_;
  return LeavingName{oldest.parent(), oldest.name()};
}

size_t SignNodes::size() const {
  std::lock_guard lock(mutex_);
  return by_id_.size();
}

void SignNodes::opened(SignNode& node, uint32_t bytes) {
  std::lock_guard lock(mutex_);
  ++node.opens_;
  node.open_bytes = std::max(node.open_bytes.load(), bytes);
}

void SignNodes::closed(SignNode& node) {
  std::lock_guard lock(mutex_);
  if (--node.opens_ == 0) node.open_bytes = 0;
}

}  // namespace keyfs
