#include "kms/local_region.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <optional>
#include <utility>
#include <vector>

#include "base/encoding.h"
#include "base/limits.h"
#include "base/race.h"

namespace keyfs {
namespace {

constexpr uint8_t kBlobVersion = 1;
constexpr size_t kFingerprintBytes = 8;
constexpr size_t kHeaderBytes = 1 + kFingerprintBytes;
constexpr std::string_view kMasterPrefix = "local:";

void add_number(std::vector<uint8_t>& bytes, size_t number) {
  for (const int shift : {24, 16, 8, 0}) bytes.push_back(static_cast<uint8_t>(number >> shift));
}

void add_text(std::vector<uint8_t>& bytes, const std::string& text) {
  add_number(bytes, text.size());
  bytes.insert(bytes.end(), text.begin(), text.end());
}

std::vector<uint8_t> associated_data(std::span<const uint8_t> header,
                                     const EncryptionContext& context) {
  std::vector<uint8_t> bytes(header.begin(), header.end());
  add_number(bytes, context.size());
  for (const auto& [key, value] : context) {  // std::map: in byte order
    add_text(bytes, key);
    add_text(bytes, value);
  }
  return bytes;
}

Result<std::array<uint8_t, kHeaderBytes>> header_of(const MasterKey& master) {
  const auto print = hex_decode(std::string_view(master.name).substr(kMasterPrefix.size()));
  if (!print || print->size() != kFingerprintBytes) {
    return fail(Code::kInvalid, "the master key " + master.name + " has no fingerprint");
  }
  std::array<uint8_t, kHeaderBytes> header{};
  header[0] = kBlobVersion;
  std::memcpy(header.data() + 1, print->data(), kFingerprintBytes);
  return header;
}

Result<void> check_size(size_t bytes) {
  if (bytes >= 1 && bytes <= kMaxKeyBytes) return {};
  return fail(Code::kInvalid, "a data key has 1 to " + std::to_string(kMaxKeyBytes) +
                                  " bytes, not " + std::to_string(bytes));
}

}  // namespace

LocalRegion::LocalRegion(Loop& loop, SecretArena& arena, Random& random, std::string name,
                         std::unique_ptr<MasterSource> master,
                         std::vector<std::unique_ptr<MasterSource>> previous)
    : loop_(loop),
      arena_(arena),
      random_(random),
      name_(std::move(name)),
      master_(std::move(master)),
      previous_(std::move(previous)) {}

Task<LocalRegion::Master> LocalRegion::load_master(TimePoint deadline) {
  return load(*master_, deadline);
}

Task<LocalRegion::Master> LocalRegion::load(MasterSource& source, TimePoint deadline) {
  if (loop_.now() >= deadline) {
    co_return fail(Code::kTimeout, "no time was left to read the master key");
  }
  co_return co_await before(loop_, deadline, "reading the master key", source.load());
}

Task<LocalRegion::Master> LocalRegion::master_named(std::string name, TimePoint deadline) {
  const auto present = co_await load_master(deadline);
  if (present && (*present)->name == name) co_return present;
  // A master that can't be read may be the one.
  std::optional<Error> unread;
  if (!present) unread = present.error();
  for (const auto& source : previous_) {
    const auto master = co_await load(*source, deadline);
    if (master && (*master)->name == name) co_return master;
    if (!master && !unread) unread = master.error().within("a previous master key");
  }
  if (unread) co_return fail(std::move(*unread));
  co_return fail(Code::kCorrupt, "wrapped by a different master key (" + name +
                                     ") than "
                                     "here (" +
                                     (*present)->name + ")");
}

Result<WrappedKey> LocalRegion::seal_under(const MasterKey& master, const SecretBytes& key,
                                           const EncryptionContext& context) {
  const auto header = header_of(master);
  if (!header) return fail(header.error());
  const auto bound_to = associated_data(*header, context);
  const auto sealed = aes_256_gcm_seal(master.bytes.reveal(), bound_to, key.reveal(), random_);
  if (!sealed) return fail(sealed.error());
  WrappedKey wrapped;
  wrapped.master = master.name;
  wrapped.blob.reserve(header->size() + sealed->size());
  wrapped.blob.append(header->begin(), header->end());
  wrapped.blob.append(sealed->begin(), sealed->end());
  return wrapped;
}

Task<Result<GeneratedKey>> LocalRegion::generate(size_t bytes, EncryptionContext context,
                                                 TimePoint deadline) {
  if (auto ok = check_size(bytes); !ok) co_return fail(std::move(ok.error()));
  const auto master = co_await load_master(deadline);
  if (!master) co_return fail(master.error());
  auto key = random_.secret(arena_, bytes);
  if (!key) co_return fail(std::move(key.error()));
  auto wrapped = seal_under(**master, *key, context);
  if (!wrapped) co_return fail(std::move(wrapped.error()));
  GeneratedKey generated;
  generated.key = std::move(*key);
  generated.wrapped = std::move(*wrapped);
  co_return generated;
}

Task<Result<WrappedKey>> LocalRegion::wrap(const SecretBytes& key, EncryptionContext context,
                                           TimePoint deadline) {
  if (auto ok = check_size(key.size()); !ok) co_return fail(std::move(ok.error()));
  const auto master = co_await load_master(deadline);
  if (!master) co_return fail(master.error());
  co_return seal_under(**master, key, context);
}

Task<Result<SecretBytes>> LocalRegion::unwrap(WrappedKey wrapped, EncryptionContext context,
                                              TimePoint deadline) {
  if (previous_.empty()) {
    const auto present = co_await load_master(deadline);
    if (!present) co_return fail(present.error());
  }
  const auto blob = bytes_of(wrapped.blob);
  if (blob.size() < kHeaderBytes + kSealOverhead + 1) {
    co_return fail(Code::kCorrupt, "the wrapped key was cut short");
  }
  if (blob[0] != kBlobVersion) {
    co_return fail(Code::kCorrupt, "the wrapped key has a format that this version does not know");
  }
  std::string made_by = std::string(kMasterPrefix) + hex_encode(blob.subspan(1, kFingerprintBytes));
  std::string name = made_by;
  const auto master = co_await master_named(std::move(name), deadline);
  if (!master) co_return fail(master.error());
  const auto header = header_of(**master);
  if (!header) co_return fail(header.error());
  if (wrapped.master != made_by) {
    co_return fail(Code::kCorrupt, "the record does not name the master key that wrapped it");
  }
  const auto bound_to = associated_data(*header, context);
  auto key =
      aes_256_gcm_open(arena_, (*master)->bytes.reveal(), bound_to, blob.subspan(kHeaderBytes));
  if (!key && key.error().code == Code::kCorrupt) {
    co_return fail(Code::kCorrupt, "the wrapped key was changed, or belongs to another id");
  }
  co_return key;
}

bool LocalRegion::unwraps(const std::string& master) const {
  return covered_by(master) || had_master(master);
}

bool LocalRegion::covered_by(const std::string& master) const {
  const auto last = master_->last();
  return last != nullptr && last->name == master;
}

bool LocalRegion::is_other_master(const std::string& master) const {
  const auto last = master_->last();
  return last != nullptr && master.starts_with(kMasterPrefix) && last->name != master;
}

bool LocalRegion::had_master(const std::string& master) const {
  return !covered_by(master) &&
         std::any_of(previous_.begin(), previous_.end(), [&](const auto& source) {
           const auto last = source->last();
           return last != nullptr && last->name == master;
         });
}

std::string LocalRegion::master() const {
  const auto last = master_->last();
  return last == nullptr ? "" : last->name;
}

Task<void> LocalRegion::keep_warm() {
  co_await master_->load();
  for (const auto& source : previous_) co_await source->load();
}

Task<RegionCheck> LocalRegion::check(TimePoint deadline) {
  RegionCheck checked;
  const TimePoint begun = loop_.now();
  const auto master = co_await load_master(deadline);
  if (!master) {
    checked.items.push_back({"master key readable", false, master.error().message,
                             "repair the file that key_file names"});
    co_return checked;
  }
  checked.master = (*master)->name;
  checked.items.push_back({"master key readable", true, "in " + to_text(loop_.now() - begun), ""});
  EncryptionContext context;
  context["keyfs:check"] = name_;
  auto generated = co_await generate(32, context, deadline);
  if (generated) {
    auto again = co_await unwrap(generated->wrapped, context, deadline);
    if (!again || !again->equals(generated->key.reveal())) {
      generated =
          fail(again ? Error(Code::kCorrupt, "unwrapping gave another key") : again.error());
    }
  }
  CheckItem works{"wraps and unwraps", generated.has_value(), "", ""};
  if (!generated) {
    works.detail = generated.error().message;
    works.remedy = "check whether something changes the file, and whether memory can be locked";
  }
  checked.items.push_back(std::move(works));
  for (const auto& source : previous_) {
    const auto old = co_await load(*source, deadline);
    if (old) continue;
    CheckItem unread{"previous master key readable", false, old.error().message,
                     "repair the file; or, if keyfs rewrap has nothing left to do, remove it from "
                     "previous_key_files"};
    unread.essential = false;
    checked.items.push_back(std::move(unread));
  }
  co_return checked;
}

}  // namespace keyfs
