// Draws /openapi.json with Swagger UI, or says how to get it: its files are fetched by `make assets`, not kept in the repository.
"use strict";

const place = document.getElementById("docs");

if (typeof SwaggerUIBundle === "undefined") {
  const hint = document.createElement("p");
  hint.textContent = "Swagger UI is not installed here: run `make assets` where there is a network, then load this page again.";
  place.prepend(hint);
} else {
  SwaggerUIBundle({
    url: "/openapi.json",
    domNode: place,
    deepLinking: true,
    // It would send the description to another host to have it judged.
    validatorUrl: null,
  });
}
