#include "fs/policy/policy.h"

#include <algorithm>

#include "base/clock.h"
#include "base/config_reader.h"
#include "fs/policy/key_id.h"

namespace keyfs {
namespace {

using namespace std::chrono_literals;

// Of rotate_every and retire_after.
constexpr std::chrono::milliseconds kLeastPeriod = 1s;
constexpr std::chrono::milliseconds kMostPeriod = 24h * 3650;

// As it is written in a configuration: "90d" rather than "2160h".
std::string period_text(Duration period) {
  constexpr Duration kDay = 24h;
  return period >= kDay && period % kDay == Duration::zero() ? std::to_string(period / kDay) + "d"
                                                             : to_text(period);
}

void set_appearance(PolicySection& section) {
  if (!section.read.uids.empty()) section.owner = section.read.uids.front();
  if (!section.read.gids.empty()) {
    section.group = section.read.gids.front();
    section.mode = 0440;
  }
}

Result<PolicySection> read_keys_section(const ConfigSection& from, NameService& names) {
  PolicySection section;
  section.title = from.title();
  section.file = from.file();
  section.line = section.file == kNoConfigFile ? 0 : from.line();
  auto glob = Glob::parse(from.argument());
  if (!glob) return fail(from.mistake(glob.error().message));
  if (const auto why = hopeless(from.argument())) return fail(from.mistake(*why));
  section.glob = std::move(*glob);
  ConfigReader in(from);
  section.read = read_principals(in, "read", names);
  section.create = read_principals(in, "create", names);
  section.admin = read_principals(in, "admin", names);
  section.rotate_every = in.duration("rotate_every", kLeastPeriod, kMostPeriod);
  section.retire_after = in.duration("retire_after", 0ms, kMostPeriod);
  // A creator whom read does not name is no mistake: who shortens read takes a right away, and that
  // must not fail because of another line.
  if (section.create.line != 0 && section.read.line == 0) {
    in.mistake("create", "permits creating keys that nobody may read: add a read list");
  }
  if (auto ok = in.finish(); !ok) return fail(ok.error());
  set_appearance(section);
  return section;
}

std::string fingerprint_of(const std::optional<std::chrono::milliseconds>& time) {
  return time ? std::to_string(time->count()) + "\n" : "\n";
}

std::string fingerprint_of(const PolicySection& section) {
  return section.title + "|" + section.file + "|" + std::to_string(section.line) + "\n" +
         fingerprint_of(section.read) + fingerprint_of(section.create) +
         fingerprint_of(section.admin) + fingerprint_of(section.rotate_every) +
         fingerprint_of(section.retire_after);
}

}  // namespace

Result<std::unique_ptr<const Policy>> Policy::load(const ConfigFile& file, NameService& names) {
  std::unique_ptr<Policy> policy(new Policy);
  for (const ConfigSection* from : file.all("keys")) {
    auto section = read_keys_section(*from, names);
    if (!section) return fail(section.error());
    policy->sections_.push_back(std::move(*section));
  }
  for (const ConfigSection* from : file.all("sign")) {
    auto section = SignSection::read(*from, names, from->file() == kNoConfigFile);
    if (!section) return fail(section.error());
    policy->sign_sections_.push_back(std::move(*section));
  }
  policy->hidden_.hidden = policy->sign_hidden_.hidden = true;
  policy->admin_.title = "[admin]";
  policy->admin_.file = file.name();
  if (const ConfigSection* from = file.find("admin")) {
    policy->admin_.line = from->line();
    ConfigReader in(*from);
    policy->admin_.read = read_principals(in, "read", names);
    if (auto ok = in.finish(); !ok) return fail(ok.error());
    set_appearance(policy->admin_);
  }
  for (PolicySection& section : policy->sections_) {
    section.policy = policy.get();
    policy->fingerprint_ += fingerprint_of(section);
  }
  for (SignSection& section : policy->sign_sections_) {
    section.policy = policy.get();
    policy->fingerprint_ += section.fingerprint();
  }
  const ConfigSection* own = file.find("keyfs");
  const auto* written = own == nullptr ? nullptr : own->find("never_create");
  auto never =
      NeverCreate::parse(written != nullptr ? written->value : NeverCreate::default_text());
  if (!never) {
    return fail(own != nullptr ? own->mistake("never_create", never.error().message)
                               : never.error());
  }
  policy->never_create_ = std::move(*never);
  policy->fingerprint_ += policy->never_create_.text() + "\n";
  policy->hidden_.policy = policy->admin_.policy = policy->sign_hidden_.policy = policy.get();
  policy->fingerprint_ += fingerprint_of(policy->admin_);
  return std::unique_ptr<const Policy>(std::move(policy));
}

const PolicySection& Policy::section_for(std::string_view id) const {
  for (const PolicySection& section : sections_) {
    if (section.glob->matches(id)) return section;
  }
  return hidden_;
}

const SignSection& Policy::sign_section_for(std::string_view id) const {
  for (const SignSection& section : sign_sections_) {
    if (section.glob->matches(id)) return section;
  }
  return sign_hidden_;
}

Decision Policy::decide(const PolicySection& section, const Caller& caller,
                        SupplementaryGroups& groups) {
  Decision decision{&section};
  Asker asker(caller, groups);
  decision.read = asker.named_in(section.read);
  decision.create = decision.read && asker.named_in(section.create);
  decision.admin = asker.named_in(section.admin);
  decision.groups_unknown = asker.groups_unknown();
  return decision;
}

bool Policy::may_read(const PolicySection& section, const Caller& caller,
                      SupplementaryGroups& groups) {
  return Asker(caller, groups).named_in(section.read);
}

bool Policy::may_create(const PolicySection& section, const Caller& caller,
                        SupplementaryGroups& groups) {
  Asker asker(caller, groups);
  return asker.named_in(section.read) && asker.named_in(section.create);
}

bool Policy::is_admin(const Caller& caller, SupplementaryGroups& groups) const {
  return may_read(admin_, caller, groups);
}

std::string Policy::explain(std::string_view id, const Caller& caller,
                            SupplementaryGroups& groups) const {
  std::string text = std::string(id) + ": ";
  switch (classify_name(id)) {
    case NameKind::kKey:
      break;
    case NameKind::kReserved:
      return text + "names that start with a dot are reserved for keyfs; no key has one\n";
    case NameKind::kTooLong:
      return text + "too long for a key id: at most 255 bytes\n";
    case NameKind::kInvalid:
      return text + "not a valid key id: A-Z a-z 0-9 . _ : @ + = , ~ -, a letter or digit first\n";
  }
  const SignSection& signing = sign_section_for(id);
  const std::string of_signing = signing.hidden ? "" : signing.explain(id, caller, groups);
  const Decision decision = decide(id, caller, groups);
  if (decision.hidden()) {
    return text + "hidden: no [keys ...] section matches, so it exists for nobody\n" + of_signing;
  }
  const PolicySection& section = *decision.section;
  text += section.title + " decides (" + place_of(section) + "), the first section that matches\n";
  text += "uid " + std::to_string(caller.uid) + ", gid " + std::to_string(caller.gid);
  if (const auto known = groups.get(); !known) {
    text += ", supplementary groups unknown (counted as none)";
  } else if (!known->empty()) {
    text += ", groups";
    for (const gid_t gid : *known) text += " " + std::to_string(gid);
  }
  text += "\n";
  const auto line = [&](const char* what, bool permitted, const Principals& list) {
    text += std::string("  ") + what + ": " + (permitted ? "yes" : "no");
    if (list.line == 0) {
      text += ", the section has no such list\n";
    } else {
      const std::string where = section.line == 0 ? "" : "line " + std::to_string(list.line) + " ";
      text += std::string(permitted ? ", by " : ", not in ") + where + "(" + what + " = " +
              list.text + ")\n";
    }
  };
  line("read", decision.read, section.read);
  if (decision.create && never_creates(id)) {
    text += "  create: no, a name that tools probe (never_create); `keyfs create` creates it\n";
  } else if (!decision.read && Asker(caller, groups).named_in(section.create)) {
    text += "  create: no, though in " +
            (section.line == 0 ? "" : "line " + std::to_string(section.create.line) + " ") +
            "(create = " + section.create.text + "): only who may read may create\n";
  } else {
    line("create", decision.create, section.create);
  }
  line("admin", decision.admin, section.admin);
  if (section.rotate_every) {
    text += "  rotated every " + period_text(*section.rotate_every) + " (rotate_every)\n";
  }
  if (section.retire_after) {
    text += "  older versions are retired " + period_text(*section.retire_after) +
            " after a rotation that reached every consumer (retire_after)\n";
  }
  return text + of_signing;
}

PolicyHolder::PolicyHolder(std::unique_ptr<const Policy> first) : current_(first.get()) {
  all_.push_back(std::move(first));
}

bool PolicyHolder::replace(std::unique_ptr<const Policy> next) {
  std::lock_guard lock(mutex_);
  if (current().same_as(*next)) return false;
  current_.store(next.get(), std::memory_order_release);
  all_.push_back(std::move(next));
  return true;
}

}  // namespace keyfs
