#include "fs/cli/sign_output.h"

#include <nlohmann/json.hpp>
#include <ostream>

namespace keyfs {
namespace {

using SignJson = nlohmann::ordered_json;

std::string type_of(const NamedSigningKey& key) {
  return key.public_key == nullptr ? "" : std::string(to_string(key.public_key->type()));
}

std::vector<std::string> algorithm_names(const NamedSigningKey& key) {
  std::vector<std::string> names;
  if (key.public_key == nullptr) return names;
  for (const SigningAlgorithm algorithm : algorithms_of(key.public_key->type())) {
    names.emplace_back(to_string(algorithm));
  }
  return names;
}

SignJson text_or_null(const std::string& text) {
  return text.empty() ? SignJson() : SignJson(text);
}

}  // namespace

SignJson signing_key_json(const NamedSigningKey& key) {
  const std::string print = key.public_key == nullptr ? "" : key.public_key->fingerprint();
  return {{"id", key.named.name},
          {"type", text_or_null(type_of(key))},
          {"custody", key.custody},
          {"state", key.state()},
          {"fingerprint", text_or_null(print)},
          {"key", key.named.key},
          {"algorithms", algorithm_names(key)},
          {"problem", key.problem ? SignJson(key.problem->message) : SignJson()}};
}

SignJson signing_key_json(const NamedSigningKey& key, const SignPermission& permission) {
  SignJson json = signing_key_json(key);
  json["public_key"] = key.public_key == nullptr ? SignJson() : SignJson(key.public_key->pem());
  json["may"] = {{"use", permission.use},
                 {"see", permission.see},
                 {"create", permission.create},
                 {"admin", permission.administer}};
  const SignSection& section = *permission.section;
  if (!section.hidden) {
    json["section"] = section.title;
    json["file"] = section.file;
    json["line"] = section.line == 0 ? SignJson() : SignJson(section.line);
  }
  return json;
}

void print(const std::vector<NamedSigningKey>& keys, std::ostream& out) {
  if (keys.empty()) return;
  std::vector<std::vector<std::string>> rows = {
      {"ID", "TYPE", "CUSTODY", "STATE", "FINGERPRINT", ""}};
  for (const NamedSigningKey& key : keys) {
    const bool known = key.public_key != nullptr;
    const bool told = key.problem && key.state() != "disabled";
    rows.push_back({Output::printable(key.named.name), known ? type_of(key) : "-", key.custody,
                    key.state(), known ? key.public_key->fingerprint() : "-",
                    told ? Output::printable(key.problem->message) : ""});
  }
  print_table(out, rows);
}

void print(const NamedSigningKey& key, const SignPermission& permission, const User& user,
           std::ostream& out) {
  out << key.named.name << "\n  state        " << key.state() << '\n';
  if (key.problem) out << "  problem      " << Output::printable(key.problem->message) << '\n';
  if (key.public_key != nullptr) {
    out << "  type         " << type_of(key) << '\n'
        << "  fingerprint  " << key.public_key->fingerprint() << '\n'
        << "  algorithms   " << joined(algorithm_names(key), " ") << '\n';
  }
  out << "  custody      " << key.custody << ": " << Output::printable(key.named.key) << '\n';
  const SignSection& section = *permission.section;
  if (section.hidden) {
    out << "  policy       no [sign ...] section matches it: it is hidden\n";
    return;
  }
  std::vector<std::string> may;
  if (permission.use) may.emplace_back("sign with it");
  if (permission.see) may.emplace_back("read its public files");
  if (permission.administer) may.emplace_back("administer it");
  out << "  policy       " << section.title << " (" << place_of(section) << "): " << user.text()
      << " may " << (may.empty() ? "do nothing with it" : joined(may)) << '\n';
}

}  // namespace keyfs
