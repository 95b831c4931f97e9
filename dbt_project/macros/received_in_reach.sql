{# The receipts that a window needs: its own, and earlier ones of the same events.
   By literals, so that zone maps and indexes are used. Partitions are used by the day alone, which
   Spark does not derive from the moment. #}
{% macro received_in_reach() -%}
    received_at >= {{ dedupe_start() }}
        and received_at < {{ window_end() }}
    {%- if var('received_on_column', none) %}
        {%- set window = export_window() -%}
        {%- set reach = modules.datetime.timedelta(hours=var('dedupe_lookback_hours')) %}
        {%- set last_moment = window.end - modules.datetime.timedelta(microseconds=1) %}
        and received_on >= date '{{ (window.start - reach).date() }}'
        and received_on <= date '{{ last_moment.date() }}'
    {%- endif -%}
{%- endmacro %}
