#include "fs/spire/key_service.h"

#include <cstdio>
#include <utility>

#include "fs/spire/messages.h"

namespace keyfs {
namespace {

RpcAnswer invalid(std::string why) { return {RpcCode::kInvalidArgument, std::move(why)}; }

RpcAnswer malformed() { return invalid("the request could not be read"); }

RpcAnswer unusable(const SigningKey& key) {
  std::string why = key.problem;
  if (why.empty()) why = key.disabled ? "it is disabled or pending deletion" : "it is not known";
  return {RpcCode::kFailedPrecondition, "key " + key.id + " cannot be used: " + why};
}

Task<RpcAnswer> generate_key(SigningKeys& keys, Log& log, std::string body, TimePoint deadline) {
  const auto request = parse_generate_key(body);
  if (!request) co_return malformed();
  GenerateRequest wanted(request->key_id, key_type_of(request->key_type), "",
                         GenerateRequest::Mode::kPut, deadline);
  const auto made = co_await keys.generate(std::move(wanted));
  if (!made) {
    log.error("could not make a key",
              {{"key_id", request->key_id}, {"reason", made.error().message}});
    co_return RpcAnswer::of(made.error());
  }
  const SigningKey& key = **made;
  if (key.public_key == nullptr) co_return unusable(key);
  co_return RpcAnswer::of(with_public_key(public_key_message(key.id, *key.public_key)));
}

RpcAnswer get_public_key(SigningKeys& keys, const std::string& body) {
  const auto id = parse_name(body);
  if (!id) return malformed();
  const SigningKeyPtr key = keys.find(*id);
  if (key == nullptr) return {RpcCode::kNotFound, not_found(*id)};
  if (key->public_key == nullptr) return unusable(*key);
  return RpcAnswer::of(with_public_key(public_key_message(*id, *key->public_key)));
}

// Those that can sign. SPIRE makes a new key in the place of one that is missing here.
RpcAnswer get_public_keys(SigningKeys& keys) {
  std::vector<std::string> found;
  for (const SigningKeyPtr& key : keys.all()) {
    if (key->public_key == nullptr || key->disabled) continue;
    found.push_back(public_key_message(key->id, *key->public_key));
  }
  return RpcAnswer::of(names_response(found));  // a repeated message is written as a repeated text
}

Task<RpcAnswer> sign_data(SigningKeys& keys, Log& log, std::string body, TimePoint deadline) {
  auto request = parse_sign_data(body);
  if (!request) co_return malformed();
  const SigningKeyPtr key = keys.find(request->key_id);
  if (key == nullptr) co_return RpcAnswer(RpcCode::kNotFound, not_found(request->key_id));
  if (key->public_key == nullptr) co_return unusable(*key);
  const bool pss = request->options == SignDataMessage::Options::kPss;
  const SigningKeyType type = key->public_key->type();
  const auto algorithm = algorithm_of(type, pss, request->hash);
  if (!algorithm) {
    co_return invalid("unsupported combination of key type " + std::string(to_string(type)) +
                      " and " + (pss ? "PSS with " : "") + hash_name(request->hash));
  }
  if (request->data.size() != digest_bytes(*algorithm)) {
    co_return invalid("data is not a digest of " + std::to_string(digest_bytes(*algorithm)) +
                      " bytes, as " + hash_name(request->hash) + " has");
  }
  DigestRequest digest(request->key_id, "", *algorithm, std::move(request->data), deadline);
  const auto outcome = co_await keys.sign(std::move(digest));
  if (!outcome) {
    log.warn("could not sign", {{"key_id", request->key_id}, {"reason", outcome.error().message}});
    co_return RpcAnswer::of(outcome.error());
  }
  if (!outcome->done) co_return RpcAnswer(RpcCode::kNotFound, not_found(request->key_id));
  const SignedDigest& done = *outcome->done;
  co_return RpcAnswer::of(
      sign_data_response(done.signature.bytes, done.by->public_key->fingerprint()));
}

}  // namespace

RpcCode rpc_code(Code code) {
  switch (code) {
    case Code::kInvalid:
      return RpcCode::kInvalidArgument;
    case Code::kDenied:
      return RpcCode::kPermissionDenied;
    case Code::kUnauthenticated:
      return RpcCode::kUnauthenticated;
    case Code::kUnavailable:
      return RpcCode::kUnavailable;
    case Code::kThrottled:
      return RpcCode::kResourceExhausted;
    case Code::kTimeout:
      return RpcCode::kDeadlineExceeded;
    case Code::kCorrupt:
      return RpcCode::kDataLoss;
    case Code::kRevoked:
      return RpcCode::kFailedPrecondition;
  }
  return RpcCode::kInternal;
}

std::optional<KeyMethod> key_method_of(std::string_view name) {
  if (name == "GenerateKey") return KeyMethod::kGenerateKey;
  if (name == "GetPublicKey") return KeyMethod::kGetPublicKey;
  if (name == "GetPublicKeys") return KeyMethod::kGetPublicKeys;
  if (name == "SignData") return KeyMethod::kSignData;
  return std::nullopt;
}

std::string not_found(const std::string& id) {
  std::string out = "key \"";
  for (const char c : id) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      (out += '\\') += c;
    } else if (byte < 0x20 || byte == 0x7f) {
      char escaped[5];
      (void)std::snprintf(escaped, sizeof escaped, "\\x%02x", byte);
      out += escaped;
    } else {
      out += c;
    }
  }
  return out + "\" not found";
}

std::optional<RpcAnswer> refuse(KeyMethod method, std::string_view request) {
  switch (method) {
    case KeyMethod::kGenerateKey: {
      const auto message = parse_generate_key(request);
      if (!message) return malformed();
      if (message->key_id.empty()) return invalid("key id is required");
      if (message->key_type == 0) return invalid("key type is required");
      if (!key_type_of(message->key_type)) {
        return invalid("unsupported key type: " + std::to_string(message->key_type));
      }
      return std::nullopt;
    }
    case KeyMethod::kGetPublicKey: {
      const auto id = parse_name(request);
      if (!id) return malformed();
      if (id->empty()) return invalid("key id is required");
      return std::nullopt;
    }
    case KeyMethod::kSignData: {
      const auto message = parse_sign_data(request);
      if (!message) return malformed();
      if (message->key_id.empty()) return invalid("key id is required");
      if (message->options == SignDataMessage::Options::kNone) {
        return invalid("signer opts is required");
      }
      if (message->hash == 0) return invalid("hash algorithm is required");
      return std::nullopt;
    }
    case KeyMethod::kGetPublicKeys:
      return std::nullopt;
  }
  return std::nullopt;
}

Task<RpcAnswer> serve_keys(SigningKeys& keys, Log& log, KeyMethod method, std::string request,
                           TimePoint deadline) {
  switch (method) {
    case KeyMethod::kGenerateKey:
      co_return co_await generate_key(keys, log, std::move(request), deadline);
    case KeyMethod::kGetPublicKey:
      co_return get_public_key(keys, request);
    case KeyMethod::kGetPublicKeys:
      co_return get_public_keys(keys);
    case KeyMethod::kSignData:
      co_return co_await sign_data(keys, log, std::move(request), deadline);
  }
  co_return RpcAnswer(RpcCode::kInternal, "no such method");
}

}  // namespace keyfs
