"""Train a small model on the inquiries as they were known at a cited point, and predict with it.

Usage: python credit_model.py AS_OF          run in the ledger's folder, needs scikit-learn
"""

import sys
from collections.abc import Mapping
from typing import Any

import pandas
from sklearn.linear_model import LogisticRegression

import audit

AS_OF = sys.argv[1]
CUSTOMER, DAY = "003", "2020-06-01"


@audit.features("payment-history", version="1", reads=["inquiry"], source="scoring")
def payment_history(
    data: Mapping[str, pandas.DataFrame], request: dict[str, str]
) -> dict[str, Any]:
    """What is known of a customer from the inquiries that came before."""
    known = data["inquiry"]
    own = known[known["CustomerID"] == request["CustomerID"]]
    return {
        "CustomerID": request["CustomerID"],
        "inquiries": len(own),
        "late": sum(status.startswith("Late") for status in own["PaymentStatus"]),
        "borrowed": sum(int(amount) for amount in own["LoanAmount"]),
    }


def numbers(features: dict[str, Any]) -> list[float]:
    """Features as the model takes them."""
    return [float(features[name]) for name in ("inquiries", "late", "borrowed")]


# The training data: all inquiries as the ledger knew them at AS_OF.
with audit.Ledger() as ledger:
    known = ledger.replay("inquiry", as_of=AS_OF)

examples, answers = [], []
for customer, own in known.sort_values("InquiryDate").groupby("CustomerID"):
    for count, status in enumerate(own["PaymentStatus"]):
        before = payment_history({"inquiry": own[:count]}, {"CustomerID": customer})
        examples.append(numbers(before))
        answers.append(status.startswith("Late"))

training = audit.model_run("late-payment", params={"C": 1.0}, seed=7, source="training")
with training as run:
    run.input(known, name="inquiry")
    run.feature(payment_history)
    classifier = LogisticRegression(C=1.0, random_state=7, max_iter=1000).fit(examples, answers)
    run.metric("accuracy", float(classifier.score(examples, answers)))
    version = run.model(classifier, version="1", threshold=0.5)


@audit.predictor(model=version, key="CustomerID", source="scoring")
def late_payment(features: dict[str, Any]) -> float:
    """Probability that the customer's next payment is late."""
    return float(classifier.predict_proba([numbers(features)])[0, 1])


# Customer CUSTOMER asks on DAY: features from the inquiries that were known then.
with audit.Ledger() as ledger:
    asked = payment_history(ledger.at(AS_OF, DAY), {"CustomerID": CUSTOMER})
probability = late_payment(asked)
late_payment.flush()

print(f"trained {version} on {len(known)} inquiries as of {AS_OF}")
print(f"customer {CUSTOMER} on {DAY} had {asked['inquiries']} inquiry, {asked['late']} late")
print(f"probability that the next payment is late: {probability:.4f}")
print(f"prediction/{late_payment.last_id}")
