#include "fs/cli/sign_parts.h"

#include <algorithm>
#include <utility>

#include "base/retry.h"
#include "fs/daemon/signing_host.h"
#include "fs/sign/known_names.h"
#include "fs/sign/public_keys.h"

namespace keyfs {

std::string NamedSigningKey::state() const {
  if (named.disabled || (problem && problem->code == Code::kRevoked)) return "disabled";
  return problem ? "unknown" : "enabled";
}

// What the keys have begun in the background ends before they do.
SignParts::~SignParts() {
  if (keys_ != nullptr || custodies_ != nullptr) context_.backends->loop().shutdown();
}

SignPermission SignParts::permission(std::string_view id) const {
  const Policy& policy = *context_.configuration.policy;
  KnownGroups groups(user_.groups);
  const SignDecision decision = policy.sign_section_for(id).decide(user_.caller, groups);
  SignPermission permission;
  permission.section = decision.section;
  permission.use = decision.use;
  permission.administer = decision.admin;
  permission.create = decision.create || decision.admin;
  permission.see =
      decision.see || decision.use || permission.create || policy.is_admin(user_.caller, groups);
  return permission;
}

Error SignParts::refusal(const SignPermission& permission, std::string_view verb,
                         std::string_view id, std::string_view entries) const {
  const SignSection& section = *permission.section;
  std::string message =
      user_.text() + " may not " + std::string(verb) + " signing key " + std::string(id) + ": ";
  if (section.hidden) {
    message += "no [sign ...] section matches it";
  } else {
    message += section.title + " (" + place_of(section) + ") does not name them in " +
               std::string(entries);
  }
  return {Code::kDenied, std::move(message)};
}

Result<SigningCustodies*> SignParts::custodies() {
  if (custodies_ == nullptr) {
    auto made = SigningCustodies::make(context_.configuration, *context_.backends,
                                       {&context_.memory(), &context_.notebook()});
    if (!made) return fail(made.error());
    custodies_ = std::move(*made);
    const std::string directory = signing_options(context_.configuration).directory;
    if (const auto known = KnownNames::read(directory + "/names")) {
      remember_all(*known, custodies_->all());
    }
  }
  return custodies_.get();
}

Result<SigningKeys*> SignParts::keys() {
  if (keys_ != nullptr) return keys_.get();
  auto kept = custodies();
  if (!kept) return fail(kept.error());
  const std::string& state_dir = context_.configuration.settings.state_dir;
  if (auto made = make_state_dir(state_dir); !made) return fail(made.error());
  SigningOptions options = signing_options(context_.configuration);
  // What root makes there, a daemon that runs as the owner of state_dir could not use.
  if (auto ours = check_whose(options.directory); !ours) return fail(ours.error());
  options.lists = false;
  auto opened = SigningKeys::open({context_.backends->loop(), context_.log,
                                   random_fraction(context_.backends->random()), (*kept)->all()},
                                  std::move(options));
  if (!opened) return fail(opened.error().within("could not use " + state_dir + "/signing"));
  keys_ = std::move(*opened);
  return keys_.get();
}

NamedSigningKey SignParts::look_at(Custody& custody, NamedKey named) {
  NamedSigningKey found;
  found.custody = custody.kind();
  auto key = context_.run(custody.public_key(named.key, deadline()));
  found.named = std::move(named);
  if (key) {
    found.public_key = std::move(*key);
  } else {
    // A custody refuses it of a key that is disabled; this host may know it all the same.
    const std::string directory = signing_options(context_.configuration).directory;
    if (key.error().code == Code::kRevoked) {
      found.public_key = PublicKeys::read(directory + "/public", found.custody, found.named.key);
    }
    found.problem = key.error();
  }
  return found;
}

Result<std::vector<NamedSigningKey>> SignParts::list() {
  auto kept = custodies();
  if (!kept) return fail(kept.error());
  std::vector<NamedSigningKey> all;
  for (Custody* custody : (*kept)->all()) {
    auto names = context_.run(custody->list(deadline()));
    if (!names) {
      return fail(names.error().within("could not list signing keys of custody " +
                                       std::string(custody->kind())));
    }
    for (NamedKey& named : *names) {
      const auto same = [&](const NamedSigningKey& key) { return key.named.name == named.name; };
      if (!permission(named.name).see || std::any_of(all.begin(), all.end(), same)) continue;
      all.push_back(look_at(*custody, std::move(named)));
    }
  }
  std::sort(all.begin(), all.end(), [](const NamedSigningKey& a, const NamedSigningKey& b) {
    return a.named.name < b.named.name;
  });
  return all;
}

Result<std::optional<NamedSigningKey>> SignParts::find(const std::string& id) {
  auto kept = custodies();
  if (!kept) return fail(kept.error());
  for (Custody* custody : (*kept)->all()) {
    auto named = context_.run(custody->find(id, deadline()));
    if (!named) return fail(named.error().within("could not look up signing key " + id));
    if (*named) return look_at(*custody, std::move(**named));
  }
  return std::nullopt;
}

Result<std::optional<NamedSigningKey>> SignParts::set_enabled(const std::string& id, bool enabled) {
  auto kept = custodies();
  if (!kept) return fail(kept.error());
  for (Custody* custody : (*kept)->all()) {
    auto named = context_.run(custody->find(id, deadline()));
    if (!named) return fail(named.error().within("could not look up signing key " + id));
    if (!*named) continue;
    const auto set = context_.run(custody->set_enabled(id, (*named)->key, enabled, deadline()));
    if (!set) return fail(set.error().within("signing key " + id));
    (*named)->disabled = !enabled;
    return look_at(*custody, std::move(**named));
  }
  return std::nullopt;
}

}  // namespace keyfs
