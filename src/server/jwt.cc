#include "server/jwt.h"

#include <fmt/core.h>
#include <openssl/bio.h>
#include <openssl/bn.h>
#include <openssl/crypto.h>
#include <openssl/ecdsa.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>

#include <array>
#include <cctype>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <fstream>
#include <iterator>
#include <limits>
#include <string>
#include <utility>

#include "wire/json.h"

namespace conclave::server {
namespace {

using Key = std::unique_ptr<EVP_PKEY, decltype(&EVP_PKEY_free)>;
using DigestContext = std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)>;
using Signature = std::unique_ptr<ECDSA_SIG, decltype(&ECDSA_SIG_free)>;

constexpr BytesView kAlphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

const unsigned char* raw(BytesView bytes) {
  return reinterpret_cast<const unsigned char*>(bytes.data());
}
unsigned char* raw(Bytes& bytes) { return reinterpret_cast<unsigned char*>(bytes.data()); }

// --- base64 for URLs, without padding (RFC 4648, section 5) --------------------------

Bytes to_base64(BytesView bytes) {
  Bytes text;
  std::uint32_t bits = 0;
  int count = 0;
  for (const char c : bytes) {
    bits = bits << 8 | static_cast<unsigned char>(c);
    for (count += 8; count >= 6; count -= 6) text.push_back(kAlphabet[bits >> (count - 6) & 63]);
  }
  if (count > 0) text.push_back(kAlphabet[bits << (6 - count) & 63]);
  return text;
}

std::optional<Bytes> from_base64(BytesView text) {
  Bytes bytes;
  std::uint32_t bits = 0;
  int count = 0;
  for (const char c : text) {
    const std::size_t value = kAlphabet.find(c);
    if (value == BytesView::npos) return std::nullopt;
    bits = bits << 6 | static_cast<std::uint32_t>(value);
    count += 6;
    if (count < 8) continue;
    count -= 8;
    bytes.push_back(static_cast<char>(bits >> count & 255));
  }
  const bool is_whole = text.size() % 4 != 1 && (bits & ((1u << count) - 1)) == 0;
  if (!is_whole) return std::nullopt;
  return bytes;
}

// --- the flat JSON objects that tokens have ------------------------------------------

// What stands under `name`: a string's content, or a number's text. nullopt: it is not there once,
// or the object is none of strings, numbers, booleans and null. Escapes are those of json_string.
class Fields {
 public:
  explicit Fields(BytesView json) : rest_(json) {}

  std::optional<Bytes> find(BytesView wanted) {
    std::optional<Bytes> found;
    if (!take('{')) return std::nullopt;
    if (take('}')) return std::nullopt;
    do {
      const auto name = string();
      if (!name || !take(':')) return std::nullopt;
      const auto value = peek() == '"' ? string() : word();
      if (!value) return std::nullopt;
      if (*name != wanted) continue;
      if (found) return std::nullopt;
      found = value;
    } while (take(','));
    if (!take('}')) return std::nullopt;
    return found;
  }

 private:
  char peek() {
    while (!rest_.empty() && std::isspace(static_cast<unsigned char>(rest_.front())) != 0) {
      rest_.remove_prefix(1);
    }
    return rest_.empty() ? '\0' : rest_.front();
  }

  bool take(char wanted) {
    if (peek() != wanted) return false;
    rest_.remove_prefix(1);
    return true;
  }

  std::optional<Bytes> word() {
    const std::size_t end = rest_.find_first_not_of("+-.0123456789abcdefghijklmnopqrstuvwxyzE");
    if (end == 0 || end == BytesView::npos) return std::nullopt;
    Bytes text(rest_.substr(0, end));
    rest_.remove_prefix(end);
    return text;
  }

  std::optional<Bytes> string() {
    if (!take('"')) return std::nullopt;
    Bytes text;
    while (!rest_.empty()) {
      const char c = rest_.front();
      rest_.remove_prefix(1);
      if (c == '"') return text;
      if (c != '\\') {
        text.push_back(c);
      } else if (!escape(text)) {
        return std::nullopt;
      }
    }
    return std::nullopt;
  }

  bool escape(Bytes& text) {
    constexpr BytesView kNames = "\"\\/bfnrt";
    constexpr BytesView kValues = "\"\\/\b\f\n\r\t";
    if (rest_.empty()) return false;
    const char c = rest_.front();
    rest_.remove_prefix(1);
    if (c == 'u') return code_point(text);
    const std::size_t at = kNames.find(c);
    if (at == BytesView::npos) return false;
    text.push_back(kValues[at]);
    return true;
  }

  // Those of the basic plane, in UTF-8.
  bool code_point(Bytes& text) {
    std::uint32_t code = 0;
    if (rest_.size() < 4) return false;
    const auto [end, error] = std::from_chars(rest_.data(), rest_.data() + 4, code, 16);
    if (error != std::errc{} || end != rest_.data() + 4) return false;
    rest_.remove_prefix(4);
    const bool is_half = code >= 0xd800 && code < 0xe000;
    if (is_half) return false;
    if (code < 0x80) {
      text.push_back(static_cast<char>(code));
    } else if (code < 0x800) {
      text.push_back(static_cast<char>(0xc0 | code >> 6));
      text.push_back(static_cast<char>(0x80 | (code & 63)));
    } else {
      text.push_back(static_cast<char>(0xe0 | code >> 12));
      text.push_back(static_cast<char>(0x80 | (code >> 6 & 63)));
      text.push_back(static_cast<char>(0x80 | (code & 63)));
    }
    return true;
  }

  BytesView rest_;
};

// A number that is none of ours may have a fraction or an exponent.
std::optional<std::uint64_t> number(BytesView json, BytesView name) {
  const auto text = Fields(json).find(name);
  if (!text) return std::nullopt;
  double value = 0;
  const auto [end, error] = std::from_chars(text->data(), text->data() + text->size(), value);
  const bool is_whole = error == std::errc{} && end == text->data() + text->size();
  constexpr double kMost = 9007199254740992.0;  // 2^53
  if (!is_whole || !(value >= 0) || value > kMost) return std::nullopt;
  return static_cast<std::uint64_t>(value);
}

// --- keys ---------------------------------------------------------------------------

Result<Bytes> read_file(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  Bytes bytes{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  if (!file && !file.eof()) {
    return fail(ErrorCode::kIo, fmt::format("--auth-token: {} cannot be read", path));
  }
  return bytes;
}

Result<Key> read_key(const std::string& path, bool is_private) {
  const Bytes pem = TRY(read_file(path));
  const std::unique_ptr<BIO, decltype(&BIO_free)> bio(
      BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())), BIO_free);
  EVP_PKEY* key = is_private ? PEM_read_bio_PrivateKey(bio.get(), nullptr, nullptr, nullptr)
                             : PEM_read_bio_PUBKEY(bio.get(), nullptr, nullptr, nullptr);
  if (key != nullptr) return Key(key, EVP_PKEY_free);
  return fail(ErrorCode::kInvalid, fmt::format("--auth-token: {} has no {} key in PEM", path,
                                               is_private ? "private" : "public"));
}

const EVP_MD* digest_of(const std::string& method) {
  if (method.ends_with("256")) return EVP_sha256();
  return method.ends_with("384") ? EVP_sha384() : EVP_sha512();
}

// The bytes of each of the two numbers of an ECDSA signature; 0: no such key goes with the method.
std::size_t curve_bytes(const std::string& method, const EVP_PKEY* key) {
  const int bits = EVP_PKEY_bits(key);
  if (method == "ES256" && bits == 256) return 32;
  if (method == "ES384" && bits == 384) return 48;
  return method == "ES512" && bits == 521 ? 66 : 0;
}

bool fits(const std::string& method, const EVP_PKEY* key) {
  const int kind = EVP_PKEY_base_id(key);
  if (method.starts_with("ES")) return kind == EVP_PKEY_EC && curve_bytes(method, key) != 0;
  return kind == EVP_PKEY_RSA;
}

// ECDSA's two numbers beside each other (RFC 7518, section 3.4), from and to OpenSSL's form.
std::optional<Bytes> to_fixed(BytesView der, std::size_t width) {
  const unsigned char* place = raw(der);
  const Signature signature(d2i_ECDSA_SIG(nullptr, &place, static_cast<long>(der.size())),
                            ECDSA_SIG_free);
  if (signature == nullptr) return std::nullopt;
  Bytes bytes(2 * width, '\0');
  const int size = static_cast<int>(width);
  const bool done =
      BN_bn2binpad(ECDSA_SIG_get0_r(signature.get()), raw(bytes), size) == size &&
      BN_bn2binpad(ECDSA_SIG_get0_s(signature.get()), raw(bytes) + width, size) == size;
  if (!done) return std::nullopt;
  return bytes;
}

std::optional<Bytes> to_der(BytesView fixed, std::size_t width) {
  if (fixed.size() != 2 * width) return std::nullopt;
  const Signature signature(ECDSA_SIG_new(), ECDSA_SIG_free);
  BIGNUM* r = BN_bin2bn(raw(fixed), static_cast<int>(width), nullptr);
  BIGNUM* s = BN_bin2bn(raw(fixed) + width, static_cast<int>(width), nullptr);
  if (ECDSA_SIG_set0(signature.get(), r, s) != 1) return std::nullopt;
  unsigned char* made = nullptr;
  const int size = i2d_ECDSA_SIG(signature.get(), &made);
  if (size <= 0) return std::nullopt;
  Bytes der(reinterpret_cast<const char*>(made), static_cast<std::size_t>(size));
  OPENSSL_free(made);
  return der;
}

}  // namespace

struct Jwt::State {
  bool is_secret() const { return method.starts_with("HS"); }

  // For PS: the padding that RFC 7518, section 3.5, asks for.
  bool prepare(EVP_PKEY_CTX* context) const {
    if (!method.starts_with("PS")) return true;
    return EVP_PKEY_CTX_set_rsa_padding(context, RSA_PKCS1_PSS_PADDING) > 0 &&
           EVP_PKEY_CTX_set_rsa_pss_saltlen(context, RSA_PSS_SALTLEN_DIGEST) > 0;
  }

  Bytes mac(BytesView text) const {
    Bytes bytes(EVP_MAX_MD_SIZE, '\0');
    unsigned int size = 0;
    HMAC(digest_of(method), secret.data(), static_cast<int>(secret.size()), raw(text), text.size(),
         raw(bytes), &size);
    bytes.resize(size);
    return bytes;
  }

  std::optional<Bytes> sign(BytesView text) const {
    if (is_secret()) return mac(text);
    if (private_key == nullptr) return std::nullopt;
    const DigestContext context(EVP_MD_CTX_new(), EVP_MD_CTX_free);
    EVP_PKEY_CTX* key_context = nullptr;
    const bool begun = EVP_DigestSignInit(context.get(), &key_context, digest_of(method), nullptr,
                                          private_key.get()) > 0;
    if (!begun || !prepare(key_context)) return std::nullopt;
    std::size_t size = 0;
    if (EVP_DigestSign(context.get(), nullptr, &size, raw(text), text.size()) <= 0) {
      return std::nullopt;
    }
    Bytes signature(size, '\0');
    if (EVP_DigestSign(context.get(), raw(signature), &size, raw(text), text.size()) <= 0) {
      return std::nullopt;
    }
    signature.resize(size);
    if (width != 0) return to_fixed(signature, width);
    return signature;
  }

  bool verify(BytesView text, Bytes signature) const {
    if (is_secret()) {
      const Bytes own = mac(text);
      return own.size() == signature.size() &&
             CRYPTO_memcmp(own.data(), signature.data(), own.size()) == 0;
    }
    if (width != 0) {
      auto der = to_der(signature, width);
      if (!der) return false;
      signature = *std::move(der);
    }
    const DigestContext context(EVP_MD_CTX_new(), EVP_MD_CTX_free);
    EVP_PKEY_CTX* key_context = nullptr;
    EVP_PKEY* key = public_key != nullptr ? public_key.get() : private_key.get();
    const bool begun =
        EVP_DigestVerifyInit(context.get(), &key_context, digest_of(method), nullptr, key) > 0;
    return begun && prepare(key_context) &&
           EVP_DigestVerify(context.get(), raw(signature), signature.size(), raw(text),
                            text.size()) == 1;
  }

  std::string method;
  std::uint64_t ttl_s = 0;
  Bytes secret;
  Key private_key{nullptr, EVP_PKEY_free};
  Key public_key{nullptr, EVP_PKEY_free};
  std::size_t width = 0;  // of ECDSA's numbers
};

Jwt::Jwt(std::unique_ptr<State> state) : state_(std::move(state)) {}
Jwt::~Jwt() = default;
Jwt::Jwt(Jwt&&) noexcept = default;
Jwt& Jwt::operator=(Jwt&&) noexcept = default;

Result<Jwt> Jwt::open(const JwtOptions& options) {
  auto state = std::make_unique<State>();
  state->method = options.method;
  state->ttl_s = static_cast<std::uint64_t>((options.ttl.ms() + 999) / 1000);
  if (state->is_secret()) {
    state->secret = TRY(read_file(options.private_key_file));
    if (state->secret.empty()) {
      return fail(ErrorCode::kInvalid,
                  fmt::format("--auth-token: {} is empty", options.private_key_file));
    }
    return Jwt(std::move(state));
  }
  if (!options.private_key_file.empty()) {
    state->private_key = TRY(read_key(options.private_key_file, true));
  }
  if (!options.public_key_file.empty()) {
    state->public_key = TRY(read_key(options.public_key_file, false));
  }
  for (const EVP_PKEY* key : {state->private_key.get(), state->public_key.get()}) {
    if (key == nullptr) continue;
    if (!fits(options.method, key)) {
      return fail(
          ErrorCode::kInvalid,
          fmt::format("--auth-token: the key is not of the kind that {} takes", options.method));
    }
    if (options.method.starts_with("ES")) state->width = curve_bytes(options.method, key);
  }
  return Jwt(std::move(state));
}

Bytes Jwt::make(const api::Identity& who, std::uint64_t wall_s) const {
  const std::string header = fmt::format(R"({{"alg":"{}","typ":"JWT"}})", state_->method);
  const std::string claims =
      fmt::format(R"({{"exp":{},"revision":{},"username":{}}})", wall_s + state_->ttl_s,
                  who.revision, wire::json_string(who.user));
  const Bytes text = to_base64(header) + "." + to_base64(claims);
  const auto signature = state_->sign(text);
  if (!signature) return {};
  return text + "." + to_base64(*signature);
}

std::optional<api::Identity> Jwt::read(BytesView token, std::uint64_t wall_s) const {
  const std::size_t second = token.rfind('.');
  if (second == BytesView::npos) return std::nullopt;
  const BytesView text = token.substr(0, second);
  const std::size_t first = text.find('.');
  if (first == BytesView::npos) return std::nullopt;
  const auto header = from_base64(text.substr(0, first));
  const auto claims = from_base64(text.substr(first + 1));
  auto signature = from_base64(token.substr(second + 1));
  if (!header || !claims || !signature) return std::nullopt;
  // The token does not get to choose how it is checked.
  if (Fields(*header).find("alg") != state_->method) return std::nullopt;
  if (!state_->verify(text, *std::move(signature))) return std::nullopt;
  auto user = Fields(*claims).find("username");
  const auto revision = number(*claims, "revision");
  const auto expires_s = number(*claims, "exp");
  if (!user || !revision || !expires_s || *expires_s < wall_s) return std::nullopt;
  return api::Identity{*std::move(user), *revision};
}

}  // namespace conclave::server
