#include "fs/policy/sign_policy.h"

#include <charconv>

#include "base/config_reader.h"
#include "kms/signing/key_types.h"

namespace keyfs {
namespace {

using namespace std::chrono_literals;

constexpr uint32_t kMostSignatures = 1'000'000;  // in one period

std::optional<SignRate> parse_sign_rate(std::string_view text) {
  SignRate rate;
  const auto parsed = std::from_chars(text.data(), text.data() + text.size(), rate.count);
  const std::string_view unit(parsed.ptr, static_cast<size_t>(text.end() - parsed.ptr));
  if (parsed.ec != std::errc() || rate.count == 0 || rate.count > kMostSignatures) {
    return std::nullopt;
  }
  if (unit == "/s") {
    rate.period = 1s;
  } else if (unit == "/m") {
    rate.period = 1min;
  } else if (unit == "/h") {
    rate.period = 1h;
  } else {
    return std::nullopt;
  }
  return rate;
}

void read_algorithms(ConfigReader& in, SignSection& section) {
  const ConfigSection::Entry* entry = in.section().find("algorithms");
  const auto names = in.list("algorithms");
  if (entry == nullptr) return;
  section.algorithms_text = entry->value;
  section.algorithms = 0;
  for (const std::string& name : names) {
    if (const auto algorithm = parse_signing_algorithm(name)) {
      section.algorithms |= uint32_t{1} << static_cast<unsigned>(*algorithm);
      continue;
    }
    std::string known;
    for (const SigningAlgorithm one : kSigningAlgorithms) {
      (known += known.empty() ? "" : ", ") += to_string(one);
    }
    in.mistake("algorithms", "\"" + name + "\" is none of " + known);
  }
}

}  // namespace

Result<SignSection> SignSection::read(const ConfigSection& from, NameService& names,
                                      bool embedded) {
  SignSection section;
  section.title = from.title();
  section.file = from.file();
  section.line = embedded ? 0 : from.line();
  auto pattern = Glob::parse(from.argument());
  if (!pattern) return fail(from.mistake(pattern.error().message));
  if (const auto why = hopeless(from.argument())) return fail(from.mistake(*why));
  section.glob = std::move(*pattern);
  ConfigReader in(from);
  section.use = read_principals(in, "use", names);
  section.see = read_principals(in, "see", names);
  section.create = read_principals(in, "create", names);
  section.admin = read_principals(in, "admin", names);
  read_algorithms(in, section);
  if (const auto text = in.string("rate")) {
    section.rate = parse_sign_rate(*text);
    section.rate_text = *text;
    if (!section.rate) {
      in.mistake("rate", "\"" + *text + "\" is no rate: N/s, N/m or N/h, N from 1 to 1000000");
    }
  }
  if (auto ok = in.finish(); !ok) return fail(ok.error());
  if (!section.use.uids.empty()) section.owner = section.use.uids.front();
  if (!section.use.gids.empty()) {
    section.group = section.use.gids.front();
    section.mode = section.public_mode = 0440;
  }
  if (section.use.any || section.see.any) section.public_mode = 0444;
  if (section.use.any) section.mode = 0444;
  return section;
}

SignDecision SignSection::decide(const Caller& caller, SupplementaryGroups& groups) const {
  SignDecision decision{this};
  Asker asker(caller, groups);
  decision.use = asker.named_in(use);
  decision.see = decision.use || asker.named_in(see);
  decision.create = asker.named_in(create);
  decision.admin = asker.named_in(admin);
  decision.groups_unknown = asker.groups_unknown();
  return decision;
}

bool SignSection::may_use(const Caller& caller, SupplementaryGroups& groups) const {
  return Asker(caller, groups).named_in(use);
}

bool SignSection::may_see(const Caller& caller, SupplementaryGroups& groups) const {
  Asker asker(caller, groups);
  return asker.named_in(use) || asker.named_in(see);
}

std::string SignSection::explain(std::string_view id, const Caller& caller,
                                 SupplementaryGroups& groups) const {
  const SignDecision decision = decide(caller, groups);
  std::string text =
      std::string(id) + " as a signing key: " + title + " decides (" + place_of(*this) + ")\n";
  const auto tell = [&](const char* what, bool permitted, const Principals& list) {
    text += std::string("  ") + what + ": " + (permitted ? "yes" : "no");
    if (list.line == 0) {
      text += ", the section has no such list\n";
    } else {
      const std::string where = line == 0 ? "" : "line " + std::to_string(list.line) + " ";
      text += std::string(permitted ? ", by " : ", not in ") + where + "(" + what + " = " +
              list.text + ")\n";
    }
  };
  tell("use", decision.use, use);
  if (decision.use) {
    text += "  see: yes, who may use may see\n";
  } else {
    tell("see", decision.see, see);
  }
  tell("create", decision.create, create);
  tell("admin", decision.admin, admin);
  if (!algorithms_text.empty()) text += "  only with algorithms = " + algorithms_text + "\n";
  if (rate) text += "  at most " + rate_text + " for each user (rate)\n";
  return text;
}

std::string SignSection::fingerprint() const {
  return title + "|" + file + "|" + std::to_string(line) + "\n" + fingerprint_of(use) +
         fingerprint_of(see) + fingerprint_of(create) + fingerprint_of(admin) + algorithms_text +
         "|" + rate_text + "\n";
}

}  // namespace keyfs
