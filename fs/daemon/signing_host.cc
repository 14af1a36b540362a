#include "fs/daemon/signing_host.h"

#include <utility>

#include "base/retry.h"
#include "fs/daemon/signing_telemetry.h"

namespace keyfs {
namespace {

constexpr Duration kSigningLook = std::chrono::seconds(10);
constexpr std::string_view kSigningRecord = ".sign.";

}  // namespace

// What the store tells of signing keys' records is theirs, the rest is the other's.
class SigningHost::Changes final : public ChangeListener {
 public:
  Changes(Loop& loop, SigningKeys& keys, ChangeListener& other)
      : loop_(loop), keys_(keys), other_(other) {}

  void on_change(const std::string& id, const std::optional<Stored>& stored) override {
    if (!id.starts_with(kSigningRecord)) return other_.on_change(id, stored);
    std::string key = id.substr(kSigningRecord.size());
    keys_.doubt(key);
    loop_.spawn(look(keys_, std::move(key), loop_.now() + kSigningLook));
  }
  void on_gap() override {
    for (const SigningKeyPtr& key : keys_.all()) {
      if (key->custody == "wrapped") keys_.doubt(key->id);
    }
    other_.on_gap();
  }
  void on_live(bool live, TimePoint as_of) override { other_.on_live(live, as_of); }

 private:
  // Nobody waits for it: so that a listing shows what is new, and what is gone.
  static Task<void> look(SigningKeys& keys, std::string id, TimePoint deadline) {
    (void)co_await keys.resolve(std::move(id), deadline);
  }

  Loop& loop_;
  SigningKeys& keys_;
  ChangeListener& other_;
};

SigningHost::SigningHost(Parts parts) : parts_(std::move(parts)) {}
SigningHost::~SigningHost() = default;

SigningOptions signing_options(const Configuration& configuration) {
  SigningOptions options;
  options.directory = configuration.settings.state_dir + "/signing";
  options.list_every = configuration.signing.list_every;
  options.grace = configuration.signing.grace;
  options.keys_per_hour = configuration.signing.keys_per_hour;
  options.step = configuration.settings.open_deadline;
  return options;
}

Result<std::unique_ptr<SigningHost>> SigningHost::build(Parts parts,
                                                        const Configuration& configuration) {
  std::unique_ptr<SigningHost> self(new SigningHost(std::move(parts)));
  if (!signs(configuration.file)) return self;
  Backends& backends = self->parts_.backends;
  Log& log = self->parts_.log;
  self->telemetry_ = std::make_unique<SigningTelemetry>(self->parts_.metrics, log);
  ShelfNotes notes;
  if (self->parts_.memory != nullptr) {
    self->notebook_.emplace(*self->parts_.memory);
    notes = {self->parts_.memory, &*self->notebook_};
  }
  auto custodies = SigningCustodies::make(configuration, backends, notes, &*self->telemetry_,
                                          self->parts_.degraded);
  if (!custodies) return fail(custodies.error());
  self->custodies_ = std::move(*custodies);
  auto keys = SigningKeys::open(
      {backends.loop(), log, random_fraction(backends.random()), self->custodies_->all()},
      signing_options(configuration));
  if (keys) {
    self->keys_ = std::move(*keys);
  } else {
    self->trouble_ = keys.error().message;
    log.error("there are no signing keys on this host: what was begun with them could not be kept",
              {{"reason", self->trouble_}});
  }
  return self;
}

Task<void> SigningHost::run() {
  if (keys_ != nullptr) co_await keys_->run();
}

ChangeListener& SigningHost::listen(ChangeListener& other) {
  if (keys_ == nullptr) return other;
  changes_ = std::make_unique<Changes>(parts_.backends.loop(), *keys_, other);
  return *changes_;
}

void SigningHost::reload() {
  if (keys_ == nullptr) return;
  parts_.backends.loop().post([keys = keys_.get()] { keys->wake(); });
}

SigningBrief SigningHost::brief() const {
  SigningBrief brief;
  brief.on = keys_ != nullptr;
  brief.trouble = trouble_;
  if (keys_ != nullptr) brief.status = keys_->status();
  return brief;
}

void SigningHost::sample() {
  if (keys_ != nullptr) telemetry_->sample(keys_->status());
}

}  // namespace keyfs
