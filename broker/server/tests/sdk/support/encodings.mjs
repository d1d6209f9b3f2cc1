// The SDK's two encodings, so that one test can hold for both. With Protobuf an application hands
// over bytes and gets bytes; these are JSON texts here.

import { Centrifuge as JsonClient } from "centrifuge";
import { Centrifuge as ProtobufClient } from "centrifuge/build/protobuf";

export const JSON_FORM = {
  name: "JSON",
  Client: JsonClient,
  encode: (value) => value,
  decode: (value) => value,
};

export const PROTOBUF_FORM = {
  name: "Protobuf",
  Client: ProtobufClient,
  encode: (value) => new TextEncoder().encode(JSON.stringify(value)),
  decode: (bytes) => JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes)),
};

export const FORMS = [JSON_FORM, PROTOBUF_FORM];
