#include "node/request_size.h"

#include <memory>
#include <variant>
#include <vector>

namespace conclave::node {
namespace {

struct Size {
  std::size_t operations = 0;
  std::size_t bytes = 0;

  void add(const api::TxnRequest& txn) {
    for (const api::Compare& compare : txn.compare) {
      ++operations;
      bytes += sizeof(compare) + compare.key.size() + compare.range_end.size();
    }
    for (const auto* branch : {&txn.success, &txn.failure}) {
      for (const api::Operation& operation : *branch) {
        ++operations;
        bytes += sizeof(operation);
        std::visit([this](const auto& op) { add(op); }, operation.op);
      }
    }
  }
  void add(const api::RangeRequest& range) { bytes += range.key.size() + range.range_end.size(); }
  void add(const api::PutRequest& put) { bytes += put.key.size() + put.value.size(); }
  void add(const api::DeleteRangeRequest& range) {
    bytes += range.key.size() + range.range_end.size();
  }
  void add(const std::unique_ptr<api::TxnRequest>& txn) {
    if (txn != nullptr) add(*txn);
  }
};

}  // namespace

std::size_t operations_of(const api::Body& body) {
  const auto* txn = std::get_if<api::TxnRequest>(&body);
  if (txn == nullptr) return 1;
  Size size;
  size.add(*txn);
  return size.operations;
}

std::size_t bytes_of(const api::Body& body) {
  Size size;
  if (const auto* txn = std::get_if<api::TxnRequest>(&body)) size.add(*txn);
  if (const auto* range = std::get_if<api::RangeRequest>(&body)) size.add(*range);
  return size.bytes;
}

}  // namespace conclave::node
