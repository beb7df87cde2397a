#pragma once
// SHA-256 of bytes that come in pieces, over OpenSSL.

#include <memory>

#include "base/bytes.h"

namespace conclave::wire {

class Sha256 {
 public:
  static constexpr std::size_t kBytes = 32;

  Sha256();
  ~Sha256();
  Sha256(Sha256&&) noexcept;
  Sha256& operator=(Sha256&&) noexcept;

  void add(BytesView bytes);
  // Of everything added; nothing can be added afterwards.
  Bytes finish();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace conclave::wire
