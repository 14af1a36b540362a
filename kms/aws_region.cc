#include "kms/aws_region.h"

#include <chrono>
#include <nlohmann/json.hpp>
#include <utility>

#include "base/encoding.h"
#include "base/limits.h"
#include "base/retry.h"
#include "kms/kms_error.h"
#include "kms/kms_reply.h"

namespace keyfs {
namespace {

using namespace std::chrono_literals;
using Json = nlohmann::json;

constexpr size_t kMaxGenerated = 1024;
constexpr size_t kMaxBlob = 6144;
constexpr size_t kMaxReply = 64 * 1024;

// Invalid UTF-8 must not throw; ids have only ASCII.
std::string dump(const Json& json) {
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

Error not_kms(const std::string& operation) {
  return Error(Code::kUnavailable, "the reply to " + operation + " does not come from KMS");
}

}  // namespace

AwsRegion::AwsRegion(Loop& loop, SecretArena& arena, AwsRegionOptions options,
                     std::unique_ptr<AwsClient> client)
    : loop_(loop), arena_(arena), options_(std::move(options)), client_(std::move(client)) {
  own_ = KmsKeyArn::parse(options_.key);
  if (own_) own_text_ = options_.key;
}

Error AwsRegion::failed(const AwsReply& reply, const std::string& operation) const {
  return kms_error(reply, operation, options_.key, options_.region);
}

// The ARN of the key that KMS says it used for `key`; an error if it cannot be that one.
Result<std::string> AwsRegion::own_key(std::string_view reply_key) {
  const auto arn = KmsKeyArn::parse(reply_key);
  const auto configured = KmsKeyArn::parse(options_.key);
  const bool alias = options_.key.find("alias/") != std::string::npos;
  if (!arn || arn->region != options_.region ||
      (configured ? *arn != *configured : !alias && arn->id != options_.key)) {
    return fail(Code::kCorrupt, "KMS in " + options_.region +
                                    " used a different key than requested (" + options_.key + ")");
  }
  own_ = arn;
  own_text_ = reply_key;
  return own_text_;
}

Task<Result<GeneratedKey>> AwsRegion::generate(size_t bytes, EncryptionContext context,
                                               TimePoint deadline) {
  if (bytes == 0 || bytes > kMaxGenerated) {
    co_return fail(Code::kInvalid, "KMS generates keys of 1 to 1024 bytes");
  }
  const Json body = {
      {"KeyId", options_.key}, {"NumberOfBytes", bytes}, {"EncryptionContext", context}};
  AwsCall call("GenerateDataKey", dump(body), deadline);
  call.secret_response = true;
  call.max_response = kMaxReply;
  auto reply = co_await client_->call(std::move(call));
  if (!reply) co_return fail(reply.error());
  if (!reply->ok()) co_return fail(failed(*reply, "GenerateDataKey"));

  auto parsed = parse_kms_reply(arena_, reply->http.text(), {.blob = true, .key = true});
  if (!parsed) co_return fail(not_kms("GenerateDataKey"));
  if (parsed->key.size() != bytes) {
    co_return fail(Code::kCorrupt,
                   "KMS in " + options_.region + " generated a key of the wrong size");
  }
  auto master = own_key(parsed->key_id);
  if (!master) co_return fail(master.error());
  GeneratedKey out;
  out.key = std::move(parsed->key);
  out.wrapped.master = std::move(*master);
  out.wrapped.blob.assign(parsed->blob.begin(), parsed->blob.end());
  co_return out;
}

Task<Result<WrappedKey>> AwsRegion::wrap(const SecretBytes& key, EncryptionContext context,
                                         TimePoint deadline) {
  if (key.empty() || key.size() > kMaxKeyBytes) {
    co_return fail(Code::kInvalid, "KMS encrypts 1 to " + std::to_string(kMaxKeyBytes) + " bytes");
  }
  // {"Plaintext":"...", followed by the rest without its opening brace.
  auto plain = base64_encode_secret(arena_, key.reveal());
  if (!plain) co_return fail(plain.error());
  const std::string rest = dump({{"KeyId", options_.key}, {"EncryptionContext", context}});
  SecretBuffer body(arena_);
  auto built = body.append("{\"Plaintext\":\"")
                   .and_then([&] { return body.append(plain->reveal_text()); })
                   .and_then([&] { return body.append("\"," + rest.substr(1)); });
  if (!built) co_return fail(built.error());
  plain->reset();
  AwsCall call("Encrypt", "", deadline);
  call.secret_body = body.take();
  call.max_response = kMaxReply;
  auto reply = co_await client_->call(std::move(call));
  if (!reply) co_return fail(reply.error());
  if (!reply->ok()) co_return fail(failed(*reply, "Encrypt"));

  const auto parsed = parse_kms_reply(arena_, reply->http.text(), {.blob = true, .key = false});
  if (!parsed) co_return fail(not_kms("Encrypt"));
  auto master = own_key(parsed->key_id);
  if (!master) co_return fail(master.error());
  WrappedKey out;
  out.master = std::move(*master);
  out.blob.assign(parsed->blob.begin(), parsed->blob.end());
  co_return out;
}

// The key that Decrypt must name. Empty: a wrap that this region must not use.
std::string AwsRegion::pin_for(const std::string& master) const {
  const auto arn = KmsKeyArn::parse(master);
  if (!own_ || !arn) return options_.key;  // an RKMS wrap names no key
  if (*arn == *own_ || own_->replica_of(*arn)) return own_text_;
  if (arn->region == own_->region && arn->same_account(*own_)) return master;
  return "";
}

Task<Result<SecretBytes>> AwsRegion::decrypt(const WrappedKey& wrapped,
                                             const EncryptionContext& context, std::string pin,
                                             TimePoint deadline) {
  Json body = {{"KeyId", pin}, {"CiphertextBlob", base64_encode(wrapped.blob)}};
  if (!context.empty()) body["EncryptionContext"] = context;
  AwsCall call("Decrypt", dump(body), deadline);
  call.secret_response = true;
  call.max_response = kMaxReply;
  auto reply = co_await client_->call(std::move(call));
  if (!reply) co_return fail(reply.error());
  if (!reply->ok()) co_return fail(failed(*reply, "Decrypt"));

  auto parsed = parse_kms_reply(arena_, reply->http.text(), {.blob = false, .key = true});
  if (!parsed) co_return fail(not_kms("Decrypt"));
  const std::string& key_id = parsed->key_id;

  const Error other_key(Code::kCorrupt, "KMS in " + options_.region +
                                            " decrypted with a different key than requested");
  if (pin == options_.key) {
    if (auto master = own_key(key_id); !master) co_return fail(other_key);
  } else if (key_id != pin) {
    co_return fail(other_key);
  }
  // The record says which key wrapped it, and the same key must have unwrapped it.
  const auto used = KmsKeyArn::parse(key_id);
  const auto said = KmsKeyArn::parse(wrapped.master);
  if (said && (!used || (*used != *said && !used->replica_of(*said)))) {
    co_return fail(other_key);
  }
  co_return std::move(parsed->key);
}

Task<Result<SecretBytes>> AwsRegion::unwrap(WrappedKey wrapped, EncryptionContext context,
                                            TimePoint deadline) {
  const Error not_ours(Code::kCorrupt, "the wrap was made by a master key other than " +
                                           options_.region + "'s: " + wrapped.master);
  if (wrapped.blob.empty() || wrapped.blob.size() > kMaxBlob) {
    co_return fail(Code::kCorrupt, "the wrap for " + options_.region + " is malformed");
  }
  const bool knew = own_.has_value();
  const std::string pin = pin_for(wrapped.master);
  if (pin.empty()) co_return fail(not_ours);
  auto key = co_await decrypt(wrapped, context, pin, deadline);
  if (key || key.error().code != Code::kCorrupt || knew) co_return key;
  // The alias may point elsewhere by now; resolve it, then name the wrap's own key, if it is one of
  // ours.
  const auto arn = KmsKeyArn::parse(wrapped.master);
  if (!arn) co_return key;
  if (!own_) {
    if (auto known = co_await describe(deadline); !known) co_return key;
  }
  const std::string second = pin_for(wrapped.master);
  if (second.empty()) co_return fail(not_ours);
  if (second != wrapped.master || *arn == *own_) co_return key;
  co_return co_await decrypt(wrapped, context, second, deadline);
}

bool AwsRegion::unwraps(const std::string& master) const {
  const auto arn = KmsKeyArn::parse(master);
  if (!arn) return false;
  if (own_) {
    return *arn == *own_ || own_->replica_of(*arn) ||
           (arn->region == own_->region && arn->same_account(*own_));
  }
  // Not yet known from KMS: a key id is enough, an alias only shows that the region is right.
  return arn->id == options_.key || arn->region == options_.region;
}

bool AwsRegion::covered_by(const std::string& master) const {
  const auto arn = KmsKeyArn::parse(master);
  if (!arn) return false;
  if (own_) return *arn == *own_ || own_->replica_of(*arn);
  return arn->multi_region() && arn->id == options_.key;  // not yet known from KMS
}

bool AwsRegion::is_other_master(const std::string& master) const {
  return own_ && KmsKeyArn::parse(master) && !covered_by(master);
}

Task<Result<void>> AwsRegion::describe(TimePoint deadline) {
  AwsCall call("DescribeKey", dump({{"KeyId", options_.key}}), deadline);
  call.max_response = kMaxReply;
  auto reply = co_await client_->call(std::move(call));
  if (!reply) co_return fail(reply.error());
  if (!reply->ok()) co_return fail(failed(*reply, "DescribeKey"));
  const auto arn = parse_kms_description(reply->http.text());
  if (!arn) co_return fail(not_kms("DescribeKey"));
  auto master = own_key(*arn);
  if (!master) co_return fail(master.error());
  co_return Result<void>();
}

Task<void> AwsRegion::keep_warm() {
  constexpr Duration kWithin = 5s;
  if (!own_) {
    // Also fetches credentials and resolves the alias: otherwise wraps by other replicas of a
    // multi-Region key are not recognized as ours.
    (void)co_await describe(loop_.now() + kWithin);
  } else {
    co_await client_->keep_warm(kWithin);
  }
}

Task<RegionCheck> AwsRegion::check(TimePoint deadline) {
  RegionCheck out;
  const TimePoint begin = loop_.now();
  const auto add = [&](std::string what, const Result<void>& result, std::string remedy) {
    CheckItem item;
    item.what = std::move(what);
    item.ok = result.has_value();
    if (!result) {
      item.detail = result.error().message;
      item.remedy = std::move(remedy);
    }
    out.items.push_back(std::move(item));
  };
  const std::string remedy_for = "allow kms:";
  const auto remedy = [&](const Result<void>& result, const std::string& operation) {
    if (result || result.error().code != Code::kDenied) {
      return std::string(result ? "" : "see the reason");
    }
    return remedy_for + operation + " on the master key in its key policy and in IAM";
  };

  auto described = co_await describe(deadline);
  const bool reached = described || described.error().code == Code::kDenied;
  CheckItem reachable;
  reachable.what = "reachable";
  reachable.ok = reached;
  if (reached) {
    reachable.detail = client_->host() + ", answered in " +
                       to_text(std::chrono::floor<std::chrono::milliseconds>(loop_.now() - begin));
  } else {
    reachable.detail = described.error().message;
    reachable.remedy = described.error().code == Code::kUnauthenticated
                           ? "give keyfs valid AWS credentials"
                           : "make sure that this host can reach " + client_->host();
  }
  out.items.push_back(std::move(reachable));
  if (!reached) co_return out;
  add("may describe the master key", described, remedy(described, "DescribeKey"));

  // KMS answers a DryRun that would have succeeded with a special error. Nothing else says that the
  // operation is permitted; and what says neither yes nor no is told as unknown.
  bool ignored = false;
  const auto dry_run = [&](std::string operation, Json body) -> Task<Result<void>> {
    body["DryRun"] = true;
    AwsCall call(operation, dump(body), deadline);
    call.secret_response = true;  // if the server does not know DryRun, this is a key
    call.max_response = kMaxReply;
    auto reply = co_await client_->call(std::move(call));
    if (!reply) co_return fail(reply.error());
    ignored = reply->ok();
    if (ignored) {
      co_return fail(Code::kUnavailable,
                     client_->host() + " did not answer the DryRun of kms:" + operation +
                         " as KMS does (HTTP 200 instead of DryRunOperationException)");
    }
    if (reply->error == "DryRunOperationException") co_return Result<void>();
    co_return fail(failed(*reply, operation));
  };
  const auto add_dry_run = [&](std::string what, const Result<void>& result,
                               const std::string& operation) {
    add(std::move(what), result, remedy(result, operation));
    if (result || !may_pass(result.error().code)) return;
    CheckItem& item = out.items.back();
    item.detail = "unknown: " + item.detail;
    if (!ignored) return;
    item.essential = false;  // it may well work: nothing refused it
    item.remedy = "if this is AWS, see what answers in its place";
  };
  const EncryptionContext context = {{"keyfs:check", options_.name}};
  const Json generate_body = {
      {"KeyId", options_.key}, {"NumberOfBytes", 32}, {"EncryptionContext", context}};
  const Result<void> may_generate = co_await dry_run("GenerateDataKey", generate_body);
  add_dry_run("may generate", may_generate, "GenerateDataKey");

  // A real Encrypt, of worthless data: Decrypt's DryRun needs a blob.
  Result<WrappedKey> wrapped = fail(Code::kUnavailable, "");
  if (auto nothing = arena_.copy_of("keyfs check"); nothing) {
    wrapped = co_await wrap(*nothing, context, deadline);
  } else {
    wrapped = fail(nothing.error());
  }
  const Result<void> may_wrap = wrapped ? Result<void>() : fail(wrapped.error());
  add("may encrypt", may_wrap, remedy(may_wrap, "Encrypt"));
  if (wrapped) {
    const Json decrypt_body = {{"KeyId", options_.key},
                               {"CiphertextBlob", base64_encode(wrapped->blob)},
                               {"EncryptionContext", context}};
    const Result<void> may_unwrap = co_await dry_run("Decrypt", decrypt_body);
    add_dry_run("may decrypt", may_unwrap, "Decrypt");
  }
  if (client_->clock_offset() != Duration::zero()) {
    add("clock", fail(Code::kUnavailable, client_->clock_complaint()),
        "set the clock (chrony, systemd-timesyncd)");
  }
  out.master = own_text_.empty() ? options_.key : own_text_;
  co_return out;
}

}  // namespace keyfs
