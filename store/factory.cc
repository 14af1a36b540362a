#include "store/factory.h"

#include <sys/stat.h>

#include <cerrno>
#include <chrono>
#include <string_view>
#include <utility>

#include "base/config_reader.h"
#include "store/known_store.h"
#include "store/sqlite/store.h"

namespace keyfs {
namespace {

// Others that start at the same time, or recover the file after a crash, may keep it locked.
constexpr auto kOpenWithin = std::chrono::seconds(10);

Result<std::unique_ptr<Store>> sqlite_from(const ConfigSection& section, const StoreParts& parts) {
  ConfigReader in(section);
  in.required("type");
  const std::string path = in.required("path");
  if (!path.empty() && path.front() != '/') {
    in.mistake("path", "must be an absolute path");
  }
  if (auto ok = in.finish(); !ok) return fail(std::move(ok.error()));
  if (parts.only_check) return nullptr;

  bool known_here = false;
  bool may_make = parts.may_make_database;
  if (!parts.state_dir.empty()) {
    const auto known = read_known_store(parts.state_dir);
    if (!known) return fail(known.error());
    known_here = known->has_value();
    may_make = may_make && !*known;
  }
  auto store = SqliteStore::open(parts.loop, path, parts.loop.now() + kOpenWithin, may_make);
  if (!store) {
    struct stat info {};
    if (!known_here && !may_make && ::stat(path.c_str(), &info) != 0 && errno == ENOENT) {
      return fail(Code::kUnavailable,
                  "there is no database at " + path + " ([store] path); `keyfs mount` creates it");
    }
    if (!known_here || store.error().code != Code::kUnavailable) return fail(store.error());
    return fail(lost_store(parts.state_dir, store.error()));
  }
  if (!parts.state_dir.empty()) {
    const auto known =
        check_known_store(parts.state_dir, StoreName{"sqlite", (*store)->store_id()}, path);
    if (!known) return fail(known.error());
  }
  return std::unique_ptr<Store>(std::move(*store));
}

Result<std::unique_ptr<Store>> dynamodb_from(const ConfigSection& section,
                                             const StoreParts& parts) {
  if (!parts.dynamodb) return fail(section.mistake("type", "dynamodb cannot be used here"));
  return parts.dynamodb(section);
}

Result<std::unique_ptr<Store>> etcd_from(const ConfigSection& section, const StoreParts& parts) {
  if (!parts.etcd) return fail(section.mistake("type", "etcd cannot be used here"));
  return parts.etcd(section);
}

struct Kind {
  std::string_view type;
  Result<std::unique_ptr<Store>> (*make)(const ConfigSection&, const StoreParts&);
};
// A new kind of store is one line here.
constexpr Kind kKinds[] = {
    {"sqlite", sqlite_from},
    {"dynamodb", dynamodb_from},
    {"etcd", etcd_from},
};

}  // namespace

Result<std::unique_ptr<Store>> make_store(const ConfigFile& config, const StoreParts& parts) {
  const ConfigSection* section = config.find("store");
  if (section == nullptr) {
    return fail(Code::kInvalid, config.name() + ": has no [store] section");
  }
  const auto* type = section->find("type");
  std::string names;
  for (const Kind& kind : kKinds) {
    if (type != nullptr && type->value == kind.type) {
      if (auto ok = check_known_type(parts.state_dir, type->value); !ok) return fail(ok.error());
      return kind.make(*section, parts);
    }
    names += (names.empty() ? "" : " or ") + std::string(kind.type);
  }
  if (type == nullptr) return fail(missing_key(*section, "type", names));
  return fail(section->mistake("type", "unknown type " + type->value + ": " + names));
}

}  // namespace keyfs
