#include "fs/spire/prefixed_custody.h"

#include <utility>

#include "base/encoding.h"
#include "base/text.h"

namespace keyfs {
namespace {

constexpr std::string_view kPlainInIds = "._:@+,-";

class PrefixedCustody final : public Custody {
 public:
  PrefixedCustody(Custody& whole, std::string prefix) : whole_(whole), prefix_(std::move(prefix)) {}

  std::string_view kind() const override { return whole_.kind(); }

  Result<void> check_name(const std::string& name) const override {
    if (name.empty()) return fail(Code::kInvalid, "a key id is empty");
    if (auto ok = whole_.check_name(there(name)); !ok) {
      return fail(Code::kInvalid, "the key id is too long, or not one");
    }
    return {};
  }

  Task<Result<std::vector<NamedKey>>> list(TimePoint deadline) override {
    auto all = co_await whole_.list(deadline);
    if (!all) co_return fail(all.error());
    std::vector<NamedKey> own;
    for (NamedKey& key : *all) {
      if (auto name = here(key.name)) {
        key.name = std::move(*name);
        own.push_back(std::move(key));
      }
    }
    co_return own;
  }

  Task<Result<std::optional<NamedKey>>> find(std::string name, TimePoint deadline) override {
    auto found = co_await whole_.find(there(name), deadline);
    if (found && *found) (*found)->name = std::move(name);
    co_return found;
  }

  Task<Result<std::optional<NamedKey>>> find_decided(std::string name,
                                                     TimePoint deadline) override {
    auto found = co_await whole_.find_decided(there(name), deadline);
    if (found && *found) (*found)->name = std::move(name);
    co_return found;
  }
  void remember(const std::string& name, const std::string& key) override {
    whole_.remember(there(name), key);
  }

  Task<Result<std::string>> create(CreateKeyRequest request, TimePoint deadline) override {
    request.name = there(request.name);
    return whole_.create(std::move(request), deadline);
  }
  Task<Result<PublicKeyPtr>> public_key(std::string key, TimePoint deadline) override {
    return whole_.public_key(std::move(key), deadline);
  }
  Task<Result<Signature>> sign(SignRequest request, TimePoint deadline) override {
    return whole_.sign(std::move(request), deadline);
  }

  Task<Result<Pointed>> point(std::string name, std::string key, std::optional<std::string> from,
                              TimePoint deadline) override {
    auto pointed = co_await whole_.point(there(name), std::move(key), std::move(from), deadline);
    if (pointed && pointed->now) pointed->now->name = std::move(name);
    co_return pointed;
  }
  Task<Result<Pointed>> keep_alive(std::string name, std::string key, TimePoint deadline) override {
    auto pointed = co_await whole_.keep_alive(there(name), std::move(key), deadline);
    if (pointed && pointed->now) pointed->now->name = std::move(name);
    co_return pointed;
  }
  Task<Result<void>> remove_name(std::string name, std::string key, TimePoint deadline) override {
    return whole_.remove_name(there(name), std::move(key), deadline);
  }
  Task<Result<Deletion>> schedule_deletion(std::string name, std::string key,
                                           TimePoint deadline) override {
    return whole_.schedule_deletion(there(name), std::move(key), deadline);
  }
  Task<Result<void>> set_enabled(std::string name, std::string key, bool enabled,
                                 TimePoint deadline) override {
    return whole_.set_enabled(there(name), std::move(key), enabled, deadline);
  }
  Task<std::vector<CheckItem>> check(TimePoint deadline) override { return whole_.check(deadline); }

 private:
  std::string there(const std::string& name) const { return prefix_ + escape_id_part(name); }
  // nullopt: of somebody else.
  std::optional<std::string> here(std::string_view name) const {
    if (!name.starts_with(prefix_) || name.size() == prefix_.size()) return std::nullopt;
    return unescape_id_part(name.substr(prefix_.size()));
  }

  Custody& whole_;
  const std::string prefix_;
};

}  // namespace

std::unique_ptr<Custody> make_prefixed_custody(Custody& whole, std::string prefix) {
  return std::make_unique<PrefixedCustody>(whole, std::move(prefix));
}

std::string escape_id_part(std::string_view text) {
  std::string out;
  for (const char c : text) {
    if (is_alnum(c) || kPlainInIds.find(c) != std::string_view::npos) {
      out += c;
    } else {
      const auto byte = static_cast<uint8_t>(c);
      (out += '=') += hex_encode({&byte, 1});
    }
  }
  return out;
}

std::optional<std::string> unescape_id_part(std::string_view part) {
  std::string out;
  for (size_t i = 0; i < part.size(); ++i) {
    if (part[i] != '=') {
      out += part[i];
      continue;
    }
    if (i + 2 >= part.size()) return std::nullopt;
    const auto byte = hex_decode(part.substr(i + 1, 2));
    if (!byte) return std::nullopt;
    out += static_cast<char>(byte->front());
    i += 2;
  }
  // One text is written in one way only.
  if (escape_id_part(out) != part) return std::nullopt;
  return out;
}

std::string wrapped_prefix(std::string_view trust_domain, std::string_view server) {
  return "spire~" + escape_id_part(trust_domain) + "~" + escape_id_part(server) + "~";
}

}  // namespace keyfs
