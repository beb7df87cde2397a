#include "wire/sha256.h"

#include <openssl/evp.h>

#include "base/check.h"

namespace conclave::wire {

struct Sha256::State {
  State() {
    CHECK(context != nullptr);
    CHECK(EVP_DigestInit_ex(context, EVP_sha256(), nullptr) == 1);
  }
  ~State() { EVP_MD_CTX_free(context); }
  State(const State&) = delete;
  State& operator=(const State&) = delete;

  EVP_MD_CTX* context = EVP_MD_CTX_new();
};

Sha256::Sha256() : state_(std::make_unique<State>()) {}
Sha256::~Sha256() = default;
Sha256::Sha256(Sha256&&) noexcept = default;
Sha256& Sha256::operator=(Sha256&&) noexcept = default;

void Sha256::add(BytesView bytes) {
  CHECK(EVP_DigestUpdate(state_->context, bytes.data(), bytes.size()) == 1);
}

Bytes Sha256::finish() {
  Bytes digest(kBytes, '\0');
  unsigned size = 0;
  CHECK(EVP_DigestFinal_ex(state_->context, reinterpret_cast<unsigned char*>(digest.data()),
                           &size) == 1);
  CHECK(size == kBytes);
  return digest;
}

}  // namespace conclave::wire
