#include "store/record.h"

#include <algorithm>
#include <limits>
#include <nlohmann/json.hpp>
#include <utility>
#include <vector>

#include "base/encoding.h"
#include "base/strict_json.h"

namespace keyfs {
namespace {

using nlohmann::json;

constexpr uint32_t kFormat = 1;
constexpr size_t kMaxName = 255;     // ids, regions, hosts
constexpr size_t kMaxMaster = 2048;  // ARNs
constexpr size_t kMaxTime = 64;
constexpr size_t kMaxKind = 64;
constexpr uint32_t kMaxVersion = std::numeric_limits<uint32_t>::max();

std::string dump(const json& value) {
  // "replace" never throws; what was parsed is valid UTF-8 anyhow.
  return value.dump(-1, ' ', false, json::error_handler_t::replace);
}

bool has_control_characters(std::string_view text) {
  return std::any_of(text.begin(), text.end(),
                     [](unsigned char c) { return c < 0x20 || c == 0x7f; });
}

// A canonical version number: "7", not "07" or "+7".
std::optional<uint32_t> parse_version(std::string_view text) {
  if (text.empty() || text.size() > 10 || text.front() == '0') return std::nullopt;
  uint64_t value = 0;
  for (const char c : text) {
    if (c < '0' || c > '9') return std::nullopt;
    value = value * 10 + static_cast<uint64_t>(c - '0');
  }
  if (value > std::numeric_limits<uint32_t>::max()) return std::nullopt;
  return static_cast<uint32_t>(value);
}

// Takes the known fields of one object; the others are kept as they are.
class Fields {
 public:
  Fields(json object, std::string where) : object_(std::move(object)), where_(std::move(where)) {}

  const std::optional<Error>& error() const { return error_; }
  const std::string& where() const { return where_; }

  void refuse(std::string_view what) {
    if (error_) return;
    const std::string gap = where_.empty() ? "" : ": ";
    error_ = Error(Code::kCorrupt, where_ + gap + std::string(what));
  }

  std::string text(const char* name, size_t most) { return to_text(name, most, take(name)); }

  uint32_t number(const char* name, uint32_t most) {
    return static_cast<uint32_t>(to_number(name, most, take(name)));
  }

  // Empty or 0 if the field is missing; an existing one must not be empty.
  std::string optional_text(const char* name, size_t most) {
    return object_.contains(name) ? text(name, most) : std::string();
  }
  uint64_t optional_number(const char* name, uint64_t most) {
    return object_.contains(name) ? to_number(name, most, take(name)) : 0;
  }

  json object(const char* name) {
    json value = take(name);
    if (!value.is_object()) {
      refuse(std::string(name) + " is missing or is no object");
      return json::object();
    }
    return value;
  }

  // Call after all known fields were taken.
  std::string rest() const { return object_.empty() ? std::string() : dump(object_); }

 private:
  std::string to_text(const char* name, size_t most, const json& value) {
    const auto* text = value.get_ptr<const json::string_t*>();
    if (text == nullptr) {
      refuse(std::string(name) + " is missing or is no text");
      return {};
    }
    if (text->empty() || text->size() > most || has_control_characters(*text)) {
      refuse(std::string(name) + " is empty, too long or not printable");
      return {};
    }
    return *text;
  }

  uint64_t to_number(const char* name, uint64_t most, const json& value) {
    const auto* number = value.get_ptr<const json::number_unsigned_t*>();
    if (number == nullptr || *number < 1 || *number > most) {
      refuse(std::string(name) + " is not a number from 1 to " + std::to_string(most));
      return 0;
    }
    return *number;
  }

  json take(const char* name) {
    const auto found = object_.find(name);
    if (found == object_.end()) return nullptr;
    json value = std::move(*found);
    object_.erase(found);
    return value;
  }

  json object_;
  std::string where_;
  std::optional<Error> error_;
};

Result<Wrap> parse_wrap(json value, std::string where) {
  if (!value.is_object()) return fail(Code::kCorrupt, where + ": is not an object");
  Fields in(std::move(value), std::move(where));
  Wrap wrap;
  wrap.master = in.text("key", kMaxMaster);
  wrap.at = in.text("at", kMaxTime);
  const auto blob = base64_decode(in.text("blob", base64_size(kMaxBlobBytes)));
  if (!blob) {
    in.refuse("blob is not base64");
  } else {
    wrap.blob.assign(blob->begin(), blob->end());
    if (wrap.blob.size() > kMaxBlobBytes) in.refuse("blob is too long");
  }
  wrap.unknown = in.rest();
  if (in.error()) return fail(*in.error());
  return wrap;
}

Result<Version> parse_one_version(json value, std::string where) {
  if (!value.is_object()) return fail(Code::kCorrupt, where + ": is not an object");
  Fields in(std::move(value), std::move(where));
  Version version;
  version.created = in.text("created", kMaxTime);
  version.creator = in.text("creator", kMaxName);
  version.bytes = in.number("bytes", kMaxKeyBytes);
  const auto check = hex_decode(in.text("check", 4 * KeyCheck().size()));
  if (!check) {
    in.refuse("check is not hexadecimal");
  } else if (check->size() != KeyCheck().size()) {
    in.refuse("check is " + std::to_string(check->size()) + " bytes, not 16");
  } else {
    std::copy(check->begin(), check->end(), version.check.emplace().begin());
  }
  version.token = in.optional_text("token", kMaxName);
  version.promoted = in.optional_text("promoted", kMaxTime);
  version.destroyed = in.optional_text("destroyed", kMaxTime);
  version.type = in.optional_text("type", kMaxKind);
  if (auto half = base64_decode(in.optional_text("public", base64_size(kMaxPublicKeyBytes)))) {
    version.public_key.assign(half->begin(), half->end());
  } else {
    in.refuse("public is not base64");
  }
  json wrapped = in.object("wrapped");
  version.unknown = in.rest();
  if (in.error()) return fail(*in.error());
  for (auto& [region, blob] : wrapped.get_ref<json::object_t&>()) {
    if (region.empty() || region.size() > kMaxName || has_control_characters(region)) {
      return fail(Code::kCorrupt, in.where() + ": the name of a region is malformed");
    }
    auto wrap = parse_wrap(std::move(blob), in.where() + ": region " + region);
    if (!wrap) return fail(std::move(wrap.error()));
    version.wrapped.emplace(region, std::move(*wrap));
  }
  if (!version.destroyed.empty() && !version.wrapped.empty()) {
    return fail(Code::kCorrupt, in.where() + ": was destroyed but still has wraps");
  }
  return version;
}

// A private key is never taken for a data key, nor a data key for a private key.
Result<void> check_kind(const Record& record) {
  const bool signing = is_signing_record_id(record.id);
  if (record.kind != (signing ? kSigningKind : std::string_view())) {
    return fail(Code::kCorrupt, signing ? "its id is a signing key's, but its kind is not"
                                        : "its kind is not one of a key of that id");
  }
  for (const auto& [number, version] : record.versions) {
    const std::string what = "version " + std::to_string(number);
    if (!signing && !(version.type.empty() && version.public_key.empty())) {
      return fail(Code::kCorrupt, what + " is one of a signing key");
    }
    if (signing && (version.type.empty() || version.public_key.empty())) {
      return fail(Code::kCorrupt, what + " of a signing key lacks its type or its public key");
    }
  }
  return {};
}

Result<Record> parse_fields(json tree, std::string_view id) {
  if (!tree.is_object()) return fail(Code::kCorrupt, "is not an object");
  Fields in(std::move(tree), "");
  // First: nothing else is known about another format.
  const uint32_t format = in.number("keyfs", std::numeric_limits<uint32_t>::max());
  if (in.error()) return fail(Code::kCorrupt, "is not a keyfs record: it has no format number");
  if (format != kFormat) {
    return fail(Code::kCorrupt, "has format " + std::to_string(format) +
                                    ", which this version of keyfs does not know");
  }
  Record record;
  record.id = in.text("id", kMaxName);
  if (!in.error() && record.id != id) in.refuse("belongs to another id");
  const auto state = parse_key_state(in.text("state", kMaxName));
  if (!state) in.refuse("state is not one of enabled, disabled, deleted");
  record.state = state.value_or(KeyState::kDisabled);
  record.current = in.number("current", kMaxVersion);
  record.origin = in.optional_text("origin", kMaxName);
  record.serial = in.optional_number("serial", std::numeric_limits<uint64_t>::max());
  record.last = static_cast<uint32_t>(in.optional_number("last", kMaxVersion));
  record.min = static_cast<uint32_t>(in.optional_number("min", kMaxVersion));
  record.pending = static_cast<uint32_t>(in.optional_number("pending", kMaxVersion));
  record.kind = in.optional_text("kind", kMaxKind);
  json versions = in.object("versions");
  record.unknown = in.rest();
  if (in.error()) return fail(*in.error());
  for (auto& [name, value] : versions.get_ref<json::object_t&>()) {
    const auto number = parse_version(name);
    if (!number) return fail(Code::kCorrupt, "a version number is malformed");
    auto version = parse_one_version(std::move(value), "version " + name);
    if (!version) return fail(std::move(version.error()));
    record.versions.emplace(*number, std::move(*version));
  }
  if (!record.versions.contains(record.current)) {
    return fail(Code::kCorrupt,
                "version " + std::to_string(record.current) + " is current but missing");
  }
  if (record.pending != 0 && !record.versions.contains(record.pending)) {
    return fail(Code::kCorrupt,
                "version " + std::to_string(record.pending) + " is pending but missing");
  }
  if (record.last != 0 && record.last < record.versions.rbegin()->first) {
    return fail(Code::kCorrupt, "version " + std::to_string(record.last) +
                                    " is the last one, but there are higher ones");
  }
  if (record.min > record.current) {
    return fail(Code::kCorrupt, "the current version is below min");
  }
  if (auto right = check_kind(record); !right) return fail(std::move(right.error()));
  return record;
}

// The fields that were unknown when reading, plus our own.
json start_object(const std::string& unknown) {
  if (unknown.empty()) return json::object();
  json object = json::parse(unknown, nullptr, false);
  return object.is_object() ? object : json::object();
}

json to_tree(const Version& version) {
  json wrapped = json::object();
  for (const auto& [region, wrap] : version.wrapped) {
    json& out = wrapped[region] = start_object(wrap.unknown);
    out["key"] = wrap.master;
    out["blob"] = base64_encode(wrap.blob);
    out["at"] = wrap.at;
  }
  json out = start_object(version.unknown);
  out["created"] = version.created;
  out["creator"] = version.creator;
  out["bytes"] = version.bytes;
  if (version.check) out["check"] = hex_encode(*version.check);
  out["wrapped"] = std::move(wrapped);
  if (!version.token.empty()) out["token"] = version.token;
  if (!version.promoted.empty()) out["promoted"] = version.promoted;
  if (!version.destroyed.empty()) out["destroyed"] = version.destroyed;
  if (!version.type.empty()) out["type"] = version.type;
  if (!version.public_key.empty()) out["public"] = base64_encode(version.public_key);
  return out;
}

}  // namespace

std::string_view to_string(KeyState state) {
  switch (state) {
    case KeyState::kEnabled:
      return "enabled";
    case KeyState::kDisabled:
      return "disabled";
    case KeyState::kDeleted:
      return "deleted";
  }
  return "disabled";
}

std::optional<KeyState> parse_key_state(std::string_view text) {
  for (const auto state : {KeyState::kEnabled, KeyState::kDisabled, KeyState::kDeleted}) {
    if (text == to_string(state)) return state;
  }
  return std::nullopt;
}

Result<Record> parse_record(std::string_view text, std::string_view id) {
  const auto corrupt = [&](const Error& error) {
    return fail(error.within("record of key " + std::string(id) + " is corrupt"));
  };
  auto tree = parse_strict_json(text, kMaxRecordBytes);
  if (!tree) return corrupt(tree.error());
  auto record = parse_fields(std::move(*tree), id);
  if (!record) return corrupt(record.error());
  return record;
}

Result<std::string> to_json_unchecked(const Record& record) {
  if (record.from_rkms) {
    return fail(Code::kInvalid,
                "record of key " + record.id + " was written by RKMS; it must be adopted first");
  }
  json versions = json::object();
  for (const auto& [number, version] : record.versions) {
    versions[std::to_string(number)] = to_tree(version);
  }
  json out = start_object(record.unknown);
  out["keyfs"] = kFormat;
  out["id"] = record.id;
  out["state"] = std::string(to_string(record.state));
  out["current"] = record.current;
  out["versions"] = std::move(versions);
  if (!record.origin.empty()) out["origin"] = record.origin;
  if (record.serial != 0) out["serial"] = record.serial;
  if (record.last != 0) out["last"] = record.last;
  if (record.min != 0) out["min"] = record.min;
  if (record.pending != 0) out["pending"] = record.pending;
  if (!record.kind.empty()) out["kind"] = record.kind;
  return dump(out);
}

Result<std::string> to_json(const Record& record) {
  auto text = to_json_unchecked(record);
  if (!text) return text;
  // Never write anything that could not be read back identically.
  const auto again = parse_record(*text, record.id);
  if (!again) return fail(Code::kInvalid, "would not be readable: " + again.error().message);
  if (*again != record) {
    return fail(Code::kInvalid,
                "record of key " + record.id + " would not be read back as written");
  }
  return text;
}

}  // namespace keyfs
