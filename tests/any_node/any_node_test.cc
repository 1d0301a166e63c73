#include "any_node/any_node.h"

#include <google/protobuf/descriptor.h>
#include <google/protobuf/message.h>
#include <google/protobuf/text_format.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>

namespace baton::any_node {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;

// Another value than the default, the same for fields of the same name.
void SetOther(Message* message, const FieldDescriptor* field) {
  const auto* reflection = message->GetReflection();
  if (field->cpp_type() == FieldDescriptor::CPPTYPE_INT32) {
    reflection->SetInt32(message, field, field->default_value_int32() + 1);
  } else if (field->cpp_type() == FieldDescriptor::CPPTYPE_INT64) {
    reflection->SetInt64(message, field, field->default_value_int64() + 1);
  } else if (field->cpp_type() == FieldDescriptor::CPPTYPE_STRING) {
    reflection->SetString(message, field, "other than " + field->default_value_string());
  } else {
    FAIL() << field->full_name() << " has a type that this test does not know";
  }
}

// A configuration of which no field has its default.
v1::AnyConfig Changed() {
  v1::AnyConfig config;
  const auto* descriptor = config.GetDescriptor();
  for (int i = 0; i < descriptor->field_count(); ++i) {
    if (descriptor->field(i)->message_type() == nullptr) SetOther(&config, descriptor->field(i));
  }
  config.mutable_node()->set_node_id("a0");
  config.mutable_process()->set_drain_timeout_ms(7);
  return config;
}

// Every field of a role's configuration comes from the field of its name, with the same default, or
// is `device`.
void ExpectAllCarried(const Message& role, const Message& role_of_defaults) {
  const v1::AnyConfig defaults;
  const auto* descriptor = role.GetDescriptor();
  for (int i = 0; i < descriptor->field_count(); ++i) {
    const FieldDescriptor* field = descriptor->field(i);
    if (field->message_type() != nullptr || field->name() == "device") continue;
    ASSERT_NE(defaults.GetDescriptor()->FindFieldByName(field->name()), nullptr)
        << field->full_name() << " is not in AnyConfig";
    std::unique_ptr<Message> expected(role.New());
    SetOther(expected.get(), field);
    const auto value = [field](const Message& message) {
      std::string text;
      google::protobuf::TextFormat::PrintFieldValueToString(message, field, -1, &text);
      return text;
    };
    EXPECT_EQ(value(role), value(*expected)) << field->full_name();
    std::unique_ptr<Message> untouched(role.New());
    EXPECT_EQ(value(role_of_defaults), value(*untouched)) << field->full_name();
  }
}

TEST(AnyNode, EachRoleIsConfiguredAsANodeOfItAlone) {
  const v1::PrefillConfig prefill = PrefillConfigOf(Changed());
  ExpectAllCarried(prefill, PrefillConfigOf({}));
  EXPECT_EQ(prefill.device(), "other than p_chip");
  EXPECT_EQ(PrefillConfigOf({}).device(), v1::PrefillConfig().device());
  const v1::DecodeConfig decode = DecodeConfigOf(Changed());
  ExpectAllCarried(decode, DecodeConfigOf({}));
  EXPECT_EQ(decode.device(), "other than d_chip");
  EXPECT_EQ(DecodeConfigOf({}).device(), v1::DecodeConfig().device());
  EXPECT_EQ(decode.node().node_id(), "a0");
  EXPECT_EQ(prefill.process().drain_timeout_ms(), 7);
}

}  // namespace
}  // namespace baton::any_node
