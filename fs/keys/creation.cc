#include "fs/keys/creation.h"

namespace keyfs {

Creation::~Creation() {
  if (witness_ == nullptr) return;
  if (state_ == State::kSaved) witness_->saved(version_, region_);
  if (state_ == State::kWriting) {
    witness_->perhaps_saved("keyfs ended before the store had answered");
  }
}

Task<Result<void>> Creation::begins(TimePoint deadline) {
  if (witness_ == nullptr) co_return Result<void>();
  auto begun = co_await witness_->begins(deadline);
  co_return begun;
}

void Creation::saved(uint32_t version, const std::string* region) {
  state_ = State::kSaved;
  version_ = version;
  region_ = region;
}

void Creation::perhaps_saved(const std::string& why) {
  state_ = State::kDone;
  if (witness_ != nullptr) witness_->perhaps_saved(why);
}

}  // namespace keyfs
