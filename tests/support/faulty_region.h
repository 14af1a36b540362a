// Wraps a region and fails on command.
//
// On the loop's thread, like every region; the test keeps a pointer to it while the set of regions
// owns it, and may change `fault` at any time: it applies from the next call on.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "base/loop.h"
#include "kms/region.h"

namespace keyfs::testing {

struct Fault {
  Duration delay{};            // before the answer, right or wrong
  bool hang = false;           // never answers, whatever the deadline is
  std::optional<Error> error;  // the answer
  bool wrong_key = false;      // unwrap gives a different plaintext than was wrapped
  bool broken_blob = false;    // generate and wrap give a blob that does not unwrap
};

class FaultyRegion final : public Region {
 public:
  struct Calls {
    int generate = 0;
    int wrap = 0;
    int unwrap = 0;
    int keep_warm = 0;
    int under_way = 0;  // started, and neither answered nor dropped
    int dropped = 0;    // before they answered
    int all() const { return generate + wrap + unwrap; }
  };

  FaultyRegion(Loop& loop, std::unique_ptr<Region> real) : loop_(loop), real_(std::move(real)) {}

  Fault fault;
  Calls calls;
  bool charged = false;  // is_charged()

  void fail_with(Code code, std::string message = "told to fail") {
    fault = Fault{};
    fault.error.emplace(code, std::move(message));
  }
  void hang() {
    fault = Fault{};
    fault.hang = true;
  }
  void answer_after(Duration delay) {
    fault = Fault{};
    fault.delay = delay;
  }
  void heal() { fault = Fault{}; }

  const std::string& name() const override { return real_->name(); }
  bool had_master(const std::string& master) const override { return real_->had_master(master); }
  std::string master() const override { return real_->master(); }
  bool is_charged() const override { return charged; }

  Task<Result<GeneratedKey>> generate(size_t bytes, EncryptionContext context,
                                      TimePoint deadline) override {
    UnderWay under_way(*this, calls.generate);
    const Fault now = fault;
    co_await suffer(now);
    if (now.error) {
      under_way.answered = true;
      co_return fail(*now.error);
    }
    auto answer = co_await real_->generate(bytes, std::move(context), deadline);
    if (answer && now.broken_blob) answer->wrapped.blob.back() ^= 1;
    under_way.answered = true;
    co_return answer;
  }

  Task<Result<WrappedKey>> wrap(const SecretBytes& key, EncryptionContext context,
                                TimePoint deadline) override {
    UnderWay under_way(*this, calls.wrap);
    const Fault now = fault;
    co_await suffer(now);
    if (now.error) {
      under_way.answered = true;
      co_return fail(*now.error);
    }
    auto answer = co_await real_->wrap(key, std::move(context), deadline);
    if (answer && now.broken_blob) answer->blob.back() ^= 1;
    under_way.answered = true;
    co_return answer;
  }

  Task<Result<SecretBytes>> unwrap(WrappedKey wrapped, EncryptionContext context,
                                   TimePoint deadline) override {
    UnderWay under_way(*this, calls.unwrap);
    const Fault now = fault;
    co_await suffer(now);
    if (now.error) {
      under_way.answered = true;
      co_return fail(*now.error);
    }
    auto answer = co_await real_->unwrap(std::move(wrapped), std::move(context), deadline);
    if (answer && now.wrong_key) answer->reveal_mutable()[0] ^= 1;
    under_way.answered = true;
    co_return answer;
  }

  bool unwraps(const std::string& master) const override { return real_->unwraps(master); }
  bool covered_by(const std::string& master) const override { return real_->covered_by(master); }

  bool is_other_master(const std::string& master) const override {
    return real_->is_other_master(master);
  }

  Task<void> keep_warm() override {
    ++calls.keep_warm;
    const Fault now = fault;
    co_await suffer(now);
    co_await real_->keep_warm();
  }

  Task<RegionCheck> check(TimePoint deadline) override {
    const Fault now = fault;
    co_await suffer(now);
    if (!now.error) co_return co_await real_->check(deadline);
    RegionCheck checked;
    checked.items.push_back({"reachable", false, now.error->message, "mend it"});
    co_return checked;
  }

 private:
  struct UnderWay {
    UnderWay(FaultyRegion& owner, int& counter) : region(owner) {
      ++counter;
      ++region.calls.under_way;
    }
    UnderWay(const UnderWay&) = delete;
    UnderWay& operator=(const UnderWay&) = delete;
    ~UnderWay() {
      --region.calls.under_way;
      if (!answered) ++region.calls.dropped;
    }
    FaultyRegion& region;
    bool answered = false;
  };

  Task<void> suffer(Fault now) {
    if (now.hang) {
      OneShot<bool> never(loop_);
      co_await never;
    }
    if (now.delay > Duration::zero()) co_await loop_.sleep_for(now.delay);
  }

  Loop& loop_;
  const std::unique_ptr<Region> real_;
};

}  // namespace keyfs::testing
